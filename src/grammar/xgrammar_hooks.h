// Comes before every other line of XGrammar's sources (cmake/XGrammar.cmake). Its part of a compilation that
// takes long is the mask of each state, computed in turn by a function of this name: between two of them the
// compilation may be given up.
#pragma once

namespace outrider::grammar {
void check_compilation();  // throws
}

#define add_adaptive_token_mask(state, is_root_rule) \
  (::outrider::grammar::check_compilation(), add_adaptive_token_mask(state, is_root_rule))
