// Chat templates in Jinja, as transformers sets jinja2 up: ImmutableSandboxedEnvironment with trim_blocks,
// lstrip_blocks, loop controls, `tojson`, `raise_exception` and `strftime_now`.
//
// What chat templates use is there; what makes jinja2 a web engine is not: template inheritance, include and
// import, auto-escaping, recursive loops, `*args`. Upper and lower case are ASCII's. Where jinja2 returns a
// generator (map, select...) this returns a list, and `escape` returns plain text.
// tests/tools/make_jinja_cases.py compares the two.
#pragma once

#include <string>
#include <string_view>

#include "chat/jinja_tree.h"

namespace outrider::chat::jinja {

// Immutable once built; any thread may render.
class Template {
 public:
  // Throws Error with the line of what is wrong.
  explicit Template(std::string_view source);

  // `variables`: an object. Throws Error: raise_exception, wrong types, too much work or output.
  std::string render(const Json& variables) const;
  const Statements& tree() const { return tree_; }

 private:
  Statements tree_;
};

}  // namespace outrider::chat::jinja
