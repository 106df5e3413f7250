#include "chat/jinja_parser.h"

#include <algorithm>
#include <array>

#include "chat/jinja_expression_parser.h"

namespace outrider::chat::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {}

  Statements run() {
    Statements all = statements({});
    if (now().kind != Token::Kind::kEnd) fail("unexpected " + described(now()));
    return all;
  }

 private:
  Statements statements(const std::vector<std::string_view>& ends);
  std::unique_ptr<Statements> body(const std::vector<std::string_view>& ends) {
    return std::make_unique<Statements>(statements(ends));
  }
  Statement statement();
  Statement conditional();
  Statement loop();
  Statement assignment();
  Statement with();
  Statement macro();
  Statement call_block();
  Statement filter_block();
  std::vector<Parameter> parameters();
  ExpressionPtr target(bool with_attributes);
  ExpressionPtr single_target(bool with_attributes);
  Statement made(Statement::Kind kind) const { return {.kind = kind, .line = now().line}; }

  int loops_ = 0;  // open {% for %}
};

// Up to a block whose first word is one of `ends`, which is left at its word.
Statements Parser::statements(const std::vector<std::string_view>& ends) {
  const Nesting nesting(*this);
  Statements out;
  for (;;) {
    switch (now().kind) {
      case Token::Kind::kText:
        out.push_back(made(Statement::Kind::kText));
        out.back().name = next().text;
        break;
      case Token::Kind::kPrintBegin:
        next();
        out.push_back(made(Statement::Kind::kPrint));
        out.back().expression = tuple();
        expect(Token::Kind::kPrintEnd, "'}}'");
        break;
      case Token::Kind::kBlockBegin: {
        next();
        for (const std::string_view end : ends) {
          if (is_word(now(), end)) return out;
        }
        out.push_back(statement());
        break;
      }
      default:
        if (!ends.empty())
          fail("expected {% " + std::string(ends.back()) + " %}, found the end of the template");
        return out;
    }
  }
}

Statement Parser::statement() {
  const std::string name = expect_name();
  if (name == "if") return conditional();
  if (name == "for") return loop();
  if (name == "set") return assignment();
  if (name == "with") return with();
  if (name == "macro") return macro();
  if (name == "call") return call_block();
  if (name == "filter") return filter_block();
  if (name == "generation") {  // transformers: marks what the assistant says
    Statement out = made(Statement::Kind::kScope);
    end_block();
    out.body = body({"endgeneration"});
    next();
    end_block();
    return out;
  }
  if (name == "break" || name == "continue") {
    if (loops_ == 0) fail("'" + name + "' outside of a loop");
    Statement out = made(name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
    end_block();
    return out;
  }
  fail("the statement '" + name.substr(0, 60) + "' is not known here");
}

Statement Parser::conditional() {
  Statement out = made(Statement::Kind::kIf);
  for (bool more = true; more;) {
    Branch branch;
    branch.condition = tuple();
    end_block();
    branch.body = body({"elif", "else", "endif"});
    more = is_word(now(), "elif");
    out.branches.push_back(std::move(branch));
    if (more) next();
  }
  if (take_word("else")) {
    end_block();
    out.branches.push_back({nullptr, body({"endif"})});
  }
  next();
  end_block();
  return out;
}

Statement Parser::loop() {
  Statement out = made(Statement::Kind::kFor);
  out.target = target(false);
  if (!take_word("in")) fail("expected 'in', found " + described(now()));
  out.expression = tuple(false);
  if (take_word("if")) out.condition = expression();
  if (is_word(now(), "recursive")) fail("recursive loops are not supported");
  end_block();
  ++loops_;
  out.body = body({"else", "endfor"});
  --loops_;
  if (take_word("else")) {
    end_block();
    out.otherwise = body({"endfor"});
  }
  next();
  end_block();
  return out;
}

ExpressionPtr Parser::single_target(bool with_attributes) {
  ExpressionPtr node = make(Kind::kName, expect_name());
  if (with_attributes && take_sign(".")) {
    std::string attribute = expect_name();
    return make_with(Kind::kAttribute, std::move(attribute), std::move(node));
  }
  constexpr std::array<std::string_view, 8> kReserved = {"true",  "false", "none", "True",
                                                         "False", "None",  "and",  "loop"};
  if (std::find(kReserved.begin(), kReserved.end(), node->name) != kReserved.end()) {
    fail("'" + node->name + "' cannot be assigned to");
  }
  return node;
}

ExpressionPtr Parser::target(bool with_attributes) {
  const bool parentheses = take_sign("(");
  ExpressionPtr first = single_target(with_attributes);
  if (is_sign(",")) {
    ExpressionPtr all = make_with(Kind::kTuple, {}, std::move(first));
    while (take_sign(",") && now().kind == Token::Kind::kName) adopt(*all, single_target(with_attributes));
    first = std::move(all);
  }
  if (parentheses) expect_sign(")");
  return first;
}

Statement Parser::assignment() {
  Statement out = made(Statement::Kind::kSet);
  out.target = target(true);
  if (take_sign("=")) {
    out.expression = tuple();
    end_block();
    return out;
  }
  out.kind = Statement::Kind::kSetBlock;
  while (take_sign("|")) out.expression = filter(std::move(out.expression));
  end_block();
  out.body = body({"endset"});
  next();
  end_block();
  return out;
}

Statement Parser::with() {
  Statement out = made(Statement::Kind::kWith);
  while (now().kind != Token::Kind::kBlockEnd) {
    if (!out.assignments.empty()) expect_sign(",");
    ExpressionPtr name = target(false);
    expect_sign("=");
    out.assignments.emplace_back(std::move(name), expression());
  }
  end_block();
  out.body = body({"endwith"});
  next();
  end_block();
  return out;
}

std::vector<Parameter> Parser::parameters() {
  std::vector<Parameter> out;
  expect_sign("(");
  while (!is_sign(")")) {
    if (!out.empty()) expect_sign(",");
    Parameter parameter{expect_name(), nullptr};
    if (take_sign("=")) {
      parameter.initial = expression();
    } else if (!out.empty() && out.back().initial != nullptr) {
      fail("a parameter without a default follows one with a default");
    }
    out.push_back(std::move(parameter));
  }
  expect_sign(")");
  return out;
}

Statement Parser::macro() {
  Statement out = made(Statement::Kind::kMacro);
  out.name = expect_name();
  out.parameters = parameters();
  end_block();
  const int loops = std::exchange(loops_, 0);
  out.body = body({"endmacro"});
  loops_ = loops;
  next();
  end_block();
  return out;
}

Statement Parser::call_block() {
  Statement out = made(Statement::Kind::kCallBlock);
  if (is_sign("(")) out.parameters = parameters();
  out.expression = expression();
  if (out.expression->kind != Kind::kCall) fail("expected a call");
  end_block();
  const int loops = std::exchange(loops_, 0);
  out.body = body({"endcall"});
  loops_ = loops;
  next();
  end_block();
  return out;
}

Statement Parser::filter_block() {
  Statement out = made(Statement::Kind::kFilter);
  out.expression = filter(nullptr);
  while (take_sign("|")) out.expression = filter(std::move(out.expression));
  end_block();
  out.body = body({"endfilter"});
  next();
  end_block();
  return out;
}

}  // namespace

Statements parse(std::string_view source) { return Parser(source).run(); }

}  // namespace outrider::chat::jinja
