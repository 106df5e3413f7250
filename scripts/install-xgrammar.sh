#!/usr/bin/env bash
# Puts the sources of XGrammar's C++ core (scripts/xgrammar-requirements.txt: 2.7 MB to download, checked by its hash) into
# .xgrammar, mended in two places. Does nothing, and needs no network, when they are there. No Python package is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=scripts/xgrammar-requirements.txt
cat "$requirements" "$0" | cmp -s - .xgrammar/stamp && exit 0

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

# mend FILE FROM TO: one line's text, which must be there once.
mend() {
  [ "$(grep -cF "$2" "$part/kept/cpp/$1")" = 1 ] || { echo "$0: $1 is not what is mended here" >&2; exit 1; }
  FROM=$2 TO=$3 perl -pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/' "$part/kept/cpp/$1"
}
# Strings with a length: every control character is barred from JSON, not only the ends of lines.
mend json_schema_converter.cc "AddCharacterClass({{'\"', '\"'}," "AddCharacterClass({{0, 0x1f}, {'\"', '\"'},"
# A pattern that its automaton cannot follow would be followed without regard to quotes: src/grammar refuses what is warned of.
mend json_schema_converter.cc '  // Keep regex conversion independent.' \
  '  if (json_string) XGRAMMAR_LOG(WARNING) << "the pattern " << regex << " is not supported"; //'
cat "$requirements" "$0" > "$part/kept/stamp"
rm -rf .xgrammar
mv "$part/kept" .xgrammar
