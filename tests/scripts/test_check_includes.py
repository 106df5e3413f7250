"""The include check finds each kind of mistake when it is planted, and nothing in a tree without one."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import check_includes  # noqa: E402

TABLE = """
| module | owns | may include |
|---|---|---|
| `src/server` | HTTP | `engine`, `base` |
| `src/engine` | scheduler | `base`, `cuda` |
| `src/cuda` | kernels; not built yet | `base` |
| `src/base` | errors | nothing |
"""
CMAKE = """
outrider_module(base LINKS spdlog::spdlog)
outrider_module(engine USES base)
outrider_module(server USES engine base
  LINKS Boost::headers)
"""
SOURCES = {
    "src/base/error.h": "#include <string>\n",
    "src/engine/engine.cc": '#include "engine/engine.h"\n#include "base/error.h"\n#include "hwy/highway.h"\n',
    "src/server/routes.cc": '#include "engine/engine.h"\n',
}


class CheckIncludesTest(unittest.TestCase):
    def check(self, table: str = TABLE, cmake: str = CMAKE, **planted: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            files = {"docs/architecture.md": table, "CMakeLists.txt": cmake, **SOURCES}
            files |= {name.replace("__", "/") + ".cc": text for name, text in planted.items()}
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return check_includes.check(root)

    def test_a_clean_tree_has_no_problem(self):
        self.assertEqual(self.check(), [])

    def test_an_include_against_the_arrow_is_found(self):
        problems = self.check(src__base__log='#include <vector>\n  #  include "server/http.h"\n')
        self.assertEqual(problems, ['src/base/log.cc: #include "server/http.h", but base may not include server'])

    def test_what_an_allowed_module_may_include_is_not_allowed_by_that(self):
        table = TABLE.replace("`engine`, `base`", "`engine`")
        cmake = CMAKE.replace("USES engine base", "USES engine")
        problems = self.check(table, cmake, src__server__http='#include "base/error.h"\n')
        self.assertEqual(problems, ['src/server/http.cc: #include "base/error.h", but server may not include base'])

    def test_an_include_that_is_not_written_from_src_is_found(self):
        for included in ("error.h", "../base/error.h", "./error.h"):
            problems = self.check(src__engine__queue=f'#include "{included}"\n')
            self.assertEqual(problems, [f'src/engine/queue.cc: #include "{included}" is not written from src/'])

    def test_a_folder_that_the_table_does_not_name_is_found(self):
        self.assertEqual(self.check(src__hub__download=""), ["src/hub: not in the module table"])

    def test_a_module_that_is_not_built_yet_must_have_no_folder(self):
        self.assertIn("not built yet", self.check(src__cuda__kernel="")[0])

    def test_a_cycle_in_the_table_is_found(self):
        table = TABLE.replace("| errors | nothing |", "| errors | `server` |")
        cmake = CMAKE.replace("base LINKS", "base USES server LINKS")
        self.assertEqual(self.check(table, cmake), ["module table: a cycle, base -> server -> base"])

    def test_uses_that_disagree_with_the_table_are_found(self):
        problems = self.check(cmake=CMAKE.replace("USES engine base", "USES base"))
        self.assertEqual(problems, ["CMakeLists.txt: server USES base; the module table allows base engine"])

    def test_a_module_that_only_one_of_both_names_is_found(self):
        self.assertEqual(self.check(cmake=CMAKE.replace("outrider_module(engine USES base)", "")),
                         ["CMakeLists.txt: no outrider_module(engine)"])
        self.assertEqual(self.check(cmake=CMAKE + "outrider_module(bench)\n"),
                         ["CMakeLists.txt: bench is not in the module table"])

    def test_a_table_that_cannot_be_read_is_refused(self):
        for table in ("no table", TABLE + TABLE, "| `src/base` | errors |\n"):
            with self.assertRaises(ValueError):
                self.check(table)


if __name__ == "__main__":
    unittest.main()
