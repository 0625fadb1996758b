"""MuJoCo files for tests: small, and with all that may go wrong."""

CARTPOLE = """
<mujoco model="cartpole">
  <option timestep="0.01"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" damping="0.1"/>
      <geom name="cart" size="0.1" mass="1" contype="0"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.01"/>
        <geom type="capsule" fromto="0 0 0 0 0 1" size="0.05" mass="0.1" contype="0"/>
        <site name="tip" pos="0 0 1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="slide" ctrlrange="-2 4" gear="10"/></actuator>
  <sensor>
    <framepos name="tip" objtype="site" objname="tip"/>
    <framelinvel name="tip_speed" objtype="site" objname="tip"/>
    <accelerometer name="shake" site="tip"/>
    <jointpos name="place" joint="slide"/>
  </sensor>
  <keyframe>
    <key name="home" qpos="0.2 3.0"/>
    <key name="up" qpos="0 0"/>
  </keyframe>
</mujoco>
"""

# every kind of joint, bodies that others move, turned frames, an offset reference, activations
ZOO = """
<mujoco model="zoo">
  <compiler angle="radian"/>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <body name="base" pos="0.1 0.2 1.3" quat="0.9 0.1 0.3 -0.2">
      <freejoint name="root"/>
      <geom name="box" type="box" size="0.1 0.2 0.05" mass="1.5" pos="0.03 0 0.02" quat="0.8 0.2 0 0.1"/>
      <body name="ball" pos="0.3 0 0.1" quat="0.7 0 0.7 0.1">
        <joint name="shoulder" type="ball" pos="0.02 0.01 -0.05" damping="0.05"/>
        <geom type="capsule" fromto="0 0 0 0.3 0.1 0" size="0.03" mass="0.4" contype="0"/>
        <body name="hand" pos="0.3 0.1 0" quat="0.9 0 0 0.3">
          <joint name="wrist" axis="1 0.5 0" pos="0.01 0 0" ref="0.3" damping="0.05"/>
          <joint name="reach" type="slide" axis="0 1 1" damping="0.5"/>
          <geom name="fist" type="sphere" size="0.05" mass="0.2" pos="0.05 0 0" contype="0"/>
          <site name="grip" pos="0.1 0 0.02" quat="0.5 0.5 0.5 0.5"/>
        </body>
      </body>
    </body>
    <body name="guide" mocap="true" pos="1 1 1" quat="0.6 0.8 0 0">
      <geom type="sphere" size="0.02" contype="0" conaffinity="0"/>
      <site name="target" pos="0.1 0 0"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="twist" joint="wrist" ctrlrange="-1 1" gear="0.2"/>
    <general name="push" joint="reach" ctrlrange="0 2" dyntype="filter" dynprm="0.05" gainprm="1"/>
  </actuator>
  <sensor>
    <gyro name="gyro" site="grip"/>
    <framequat name="attitude" objtype="site" objname="grip"/>
    <framelinvel name="speed" objtype="body" objname="hand"/>
    <force name="force" site="grip"/>
    <subtreecom name="com" body="base"/>
    <framepos name="target" objtype="site" objname="target"/>
  </sensor>
</mujoco>
"""

# a ball that bounces, and a foot that is pushed into the ground
CONTACT = """
<mujoco model="hopper">
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <body name="torso" pos="0 0 0.6">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="torso" size="0.15" mass="3" contype="0"/>
      <body name="leg" pos="0 0 -0.2">
        <joint name="hip" axis="0 1 0" range="-40 40" limited="true" damping="0.5"/>
        <joint name="knee" type="slide" axis="0 0 1" range="-0.1 0.1" limited="true" stiffness="800" damping="5"/>
        <geom name="foot" type="capsule" fromto="0 0 0 0 0 -0.25" size="0.04" mass="0.4"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="hip" joint="hip" ctrlrange="-1 1" gear="20"/>
    <motor name="knee" joint="knee" ctrlrange="-1 1" gear="100"/>
  </actuator>
  <sensor><touch name="touch" site="sole"/></sensor>
</mujoco>
""".replace(
    'size="0.04" mass="0.4"/>', 'size="0.04" mass="0.4"/>\n        <site name="sole" pos="0 0 -0.25" size="0.06"/>'
)
