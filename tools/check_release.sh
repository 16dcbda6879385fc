#!/usr/bin/env bash
# Build the source distribution and the wheel, check them, and run the main job from each, and from
# the wheel with the lowest versions that pyproject.toml allows, each in a fresh environment.
#
# tools/check_release.sh [PYTHON]
set -euo pipefail

cd "$(dirname "$0")/.."
python=${1:-python3}
bounds=$PWD/tools/lower_bounds.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -m venv "$folder/build"
"$folder/build/bin/pip" install --quiet build twine
"$folder/build/bin/python" -m build --outdir "$folder/dist" . > "$folder/build.txt"
"$folder/build/bin/twine" check --strict "$folder"/dist/*

main_job() {
  local name=$1
  shift
  "$python" -m venv "$folder/$name"
  "$folder/$name/bin/pip" install --quiet "$@"
  mkdir "$folder/$name/run"
  # Away from the repository, so that the installed package is imported.
  (cd "$folder/$name/run" && "$folder/$name/bin/python" -m plenoptax metamer brick --steps 60)
  test -s "$folder/$name/run/metamer.png"
  echo "== $name: $("$folder/$name/bin/python" -c 'import jax, plenoptax; print(
    "plenoptax", plenoptax.__version__, "with jax", jax.__version__)')"
}

main_job sdist "$folder"/dist/*.tar.gz
main_job wheel "$folder"/dist/*.whl
main_job lower-bounds "$folder"/dist/*.whl --constraint "$bounds"
