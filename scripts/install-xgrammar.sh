#!/usr/bin/env bash
# Puts the sources of XGrammar's C++ core (scripts/xgrammar-requirements.txt: 2.7 MB to download, checked by its hash) into
# .xgrammar. Does nothing, and needs no network, when they are there. No Python package is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=scripts/xgrammar-requirements.txt
cmp -s "$requirements" .xgrammar/requirements.txt && exit 0

echo "fetching the sources of XGrammar into .xgrammar"
part=$PWD/.xgrammar.part
rm -rf "$part"
trap 'rm -rf "$part"' EXIT
/usr/bin/python3 -m venv "$part/venv"
# pip keeps an sdist only after its build backend has told its name and version. Nothing is built here: a stand-in tells.
backend=$(echo "$part"/venv/lib/python3*/site-packages)/scikit_build_core
mkdir "$backend"
cat > "$backend/build.py" << 'END'
import pathlib


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    lines = pathlib.Path("PKG-INFO").read_text().splitlines()
    version = next(line.split()[1] for line in lines if line.startswith("Version: "))
    folder = pathlib.Path(metadata_directory) / f"xgrammar-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: xgrammar\nVersion: {version}\n")
    return folder.name
END
touch "$backend/__init__.py"
"$part/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
  --require-hashes -d "$part" -r "$requirements"
mkdir "$part/source"
tar xf "$part"/xgrammar-*.tar.gz -C "$part/source" --strip-components 1
mkdir -p "$part/kept/3rdparty/dlpack"
mv "$part"/source/{LICENSE,NOTICE,cpp,include} "$part/kept"
mv "$part/source/3rdparty/picojson" "$part/kept/3rdparty"
mv "$part/source/3rdparty/dlpack/include" "$part/kept/3rdparty/dlpack"
cp "$requirements" "$part/kept/requirements.txt"
rm -rf .xgrammar
mv "$part/kept" .xgrammar
