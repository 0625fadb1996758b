"""What every test stands on: shapes are checked, several devices are there, compiled programs are kept."""

import os
import pathlib

import jax
import pytest
from jaxtyping import install_import_hook

# XLA compiles a fifth as long with these, and compilation is most of what tests do; jaxlib ends the process at a flag
# that it does not know
FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if tuple(map(int, jax.lib.__version__.split(".")[:2])) < (0, 12):
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
jax.config.update("jax_num_cpu_devices", 4)  # for the tests of sharding; all others use the first
# one folder for each process of pytest-xdist: an entry is there before it is whole
CACHE = pathlib.Path(__file__).parent.parent / ".jax_cache" / os.environ.get("PYTEST_XDIST_WORKER", "gw0")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

TESTS = pytest.StashKey[int]()  # how many this process has run

# Check every shape annotation of the package from here on: this must come before anything imports it.
install_import_hook("mirrax", "beartype.beartype")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Every compiled program maps memory, of which a process may have so many pieces: past them XLA crashes."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def forget_programs_in_time(request, maps=pathlib.Path("/proc/self/maps")):
    """The same where one module compiles that many; Linux allows 65 530 pieces."""
    yield
    request.config.stash[TESTS] = count = request.config.stash.get(TESTS, 0) + 1
    if count % 20 == 0 and maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
