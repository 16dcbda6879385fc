import subprocess
import sys


SCRIPT = """
import sys, plenoptax.data
names = ("imageio", "matplotlib", "PIL", "pooch", "tifffile")
print([name for name in names if name in sys.modules])
"""


def test_import_starts_no_backend_and_no_file_library():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={"JAX_PLATFORMS": "bogus", "PATH": ""},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
