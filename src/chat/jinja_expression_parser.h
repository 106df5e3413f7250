// The expression half of the parser, with the tokens that both halves read.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja_lexer.h"
#include "chat/jinja_tree.h"

namespace outrider::chat::jinja {

bool is_word(const Token& token, std::string_view word);
std::string described(const Token& token);  // for messages

class ExpressionParser {
 protected:
  // Of nested expressions and of nested blocks.
  static constexpr int kMaxDepth = 120;
  using Kind = Expression::Kind;

  explicit ExpressionParser(std::string_view source) : tokens_(tokenize(source)) {}

  // Counts how deep the parser itself has gone.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxDepth) parser_.fail("nested more than 120 deep");
    }
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  // --- tokens ---
  const Token& now() const { return tokens_[at_]; }
  const Token& next() { return tokens_[now().kind == Token::Kind::kEnd ? at_ : at_++]; }
  bool is_sign(std::string_view sign) const { return now().kind == Token::Kind::kSign && now().text == sign; }
  bool take_sign(std::string_view sign) {
    if (!is_sign(sign)) return false;
    next();
    return true;
  }
  bool take_word(std::string_view word) {
    if (!is_word(now(), word)) return false;
    next();
    return true;
  }
  void expect_sign(std::string_view sign) {
    if (!take_sign(sign)) fail("expected '" + std::string(sign) + "', found " + described(now()));
  }
  std::string expect_name() {
    if (now().kind != Token::Kind::kName) fail("expected a name, found " + described(now()));
    return next().text;
  }
  void expect(Token::Kind kind, const char* what) {
    if (now().kind != kind) fail(std::string("expected ") + what + ", found " + described(now()));
    next();
  }
  void end_block() { expect(Token::Kind::kBlockEnd, "'%}'"); }
  [[noreturn]] void fail(const std::string& what) const { fail_at(now().line, what); }

  // --- expressions ---
  ExpressionPtr make(Kind kind, std::string name = {}) const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = now().line;
    made->name = std::move(name);
    return made;
  }
  void adopt(Expression& parent, ExpressionPtr child) const {
    if (child != nullptr) {
      parent.depth = std::max(parent.depth, child->depth + 1);
      if (parent.depth > kMaxDepth) fail("an expression is nested more than 120 deep");
    }
    parent.children.push_back(std::move(child));
  }
  template <class... Children>
  ExpressionPtr make_with(Kind kind, std::string name, Children... children) const {
    ExpressionPtr made = make(kind, std::move(name));
    (adopt(*made, std::move(children)), ...);
    return made;
  }

  ExpressionPtr expression(bool with_condition = true);
  ExpressionPtr filter(ExpressionPtr node);
  ExpressionPtr tuple(bool with_condition = true, bool explicit_parentheses = false);

 private:
  ExpressionPtr either();
  ExpressionPtr both();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters = true);
  ExpressionPtr primary();
  ExpressionPtr word();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr node);
  ExpressionPtr subscript(ExpressionPtr node);
  ExpressionPtr filters(ExpressionPtr node);
  ExpressionPtr test(ExpressionPtr node);
  void arguments(Expression& call);
  bool tuple_ends() const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace outrider::chat::jinja
