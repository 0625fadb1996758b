"""What every test stands on: shapes are checked, several devices are there, compiled programs are kept."""

import os
import pathlib

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 4)  # for the tests of sharding; all others use the first
# one folder for each process of pytest-xdist: an entry is there before it is whole
CACHE = pathlib.Path(__file__).parent.parent / ".jax_cache" / os.environ.get("PYTEST_XDIST_WORKER", "gw0")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# Check every shape annotation of the package from here on: this must come before anything imports it.
install_import_hook("mirrax", "beartype.beartype")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Every compiled program maps memory, of which a process may have so many pieces: past them XLA crashes."""
    yield
    jax.clear_caches()
