#include "chat/jinja_expression_parser.h"

#include <array>

#include "chat/jinja_builtins.h"

namespace outrider::chat::jinja {
namespace {

constexpr size_t kMaxArguments = 64;  // of one call; map('map', 'map', ...) recurses over them

}  // namespace

bool is_word(const Token& token, std::string_view word) {
  return token.kind == Token::Kind::kName && token.text == word;
}

std::string described(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kName:
    case Token::Kind::kSign:
      return "'" + token.text.substr(0, 60) + "'";
    case Token::Kind::kString:
      return "a string";
    case Token::Kind::kInteger:
    case Token::Kind::kFloat:
      return "a number";
    case Token::Kind::kPrintEnd:
      return "'}}'";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    default:
      return "the end of the template";
  }
}

ExpressionPtr ExpressionParser::expression(bool with_condition) {
  const Nesting nesting(*this);
  ExpressionPtr value = either();
  if (!with_condition) return value;
  while (take_word("if")) {
    ExpressionPtr condition = either();
    ExpressionPtr other = take_word("else") ? expression() : nullptr;
    value = make_with(Kind::kCondition, {}, std::move(value), std::move(condition), std::move(other));
  }
  return value;
}

ExpressionPtr ExpressionParser::either() {
  ExpressionPtr left = both();
  while (take_word("or")) left = make_with(Kind::kOr, {}, std::move(left), both());
  return left;
}

ExpressionPtr ExpressionParser::both() {
  ExpressionPtr left = negation();
  while (take_word("and")) left = make_with(Kind::kAnd, {}, std::move(left), negation());
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  const Nesting nesting(*this);
  if (take_word("not")) return make_with(Kind::kUnary, "not", negation());
  return comparison();
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr left = sum();
  ExpressionPtr all;
  for (;;) {
    std::string name;
    constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<", "<=", ">", ">="};
    if (now().kind == Token::Kind::kSign &&
        std::find(kSigns.begin(), kSigns.end(), now().text) != kSigns.end()) {
      name = next().text;
    } else if (take_word("in")) {
      name = "in";
    } else if (is_word(now(), "not") && is_word(tokens_[at_ + 1], "in")) {
      at_ += 2;
      name = "not in";
    } else {
      return all != nullptr ? std::move(all) : std::move(left);
    }
    if (all == nullptr) all = make_with(Kind::kCompare, {}, std::move(left));
    adopt(*all, sum());
    all->operators.push_back(std::move(name));
  }
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (is_sign("+") || is_sign("-")) {
    std::string name = next().text;
    left = make_with(Kind::kBinary, std::move(name), std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr first = product();
  if (!is_sign("~")) return first;
  ExpressionPtr all = make_with(Kind::kConcat, {}, std::move(first));
  while (take_sign("~")) adopt(*all, product());
  return all;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
    std::string name = next().text;
    left = make_with(Kind::kBinary, std::move(name), std::move(left), power());
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary();
  while (take_sign("**")) left = make_with(Kind::kBinary, "**", std::move(left), unary());
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const Nesting nesting(*this);
  ExpressionPtr node;
  if (is_sign("-") || is_sign("+")) {
    std::string name = next().text;
    node = make_with(Kind::kUnary, std::move(name), unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters(std::move(node)) : std::move(node);
}

ExpressionPtr ExpressionParser::primary() {
  ExpressionPtr node;
  switch (now().kind) {
    case Token::Kind::kName:
      return word();
    case Token::Kind::kString: {
      node = make(Kind::kConstant);
      std::string text;
      while (now().kind == Token::Kind::kString) text += next().text;
      node->value = std::move(text);
      return node;
    }
    case Token::Kind::kInteger:
    case Token::Kind::kFloat:
      node = make(Kind::kConstant);
      node->value = next().number;
      return node;
    default:
      break;
  }
  if (take_sign("(")) {
    node = tuple(true, true);
    expect_sign(")");
    return node;
  }
  if (is_sign("[")) return list();
  if (is_sign("{")) return dict();
  fail("expected an expression, found " + described(now()));
}

ExpressionPtr ExpressionParser::word() {
  const std::string& name = now().text;
  ExpressionPtr node = make(Kind::kConstant);
  if (name == "true" || name == "True") {
    node->value = true;
  } else if (name == "false" || name == "False") {
    node->value = false;
  } else if (name != "none" && name != "None") {
    node->kind = Kind::kName;
    node->name = name;
  }
  next();
  return node;
}

ExpressionPtr ExpressionParser::list() {
  ExpressionPtr node = make(Kind::kList);
  expect_sign("[");
  while (!is_sign("]")) {
    if (!node->children.empty()) expect_sign(",");
    if (is_sign("]")) break;
    adopt(*node, expression());
  }
  expect_sign("]");
  return node;
}

ExpressionPtr ExpressionParser::dict() {
  ExpressionPtr node = make(Kind::kDict);
  expect_sign("{");
  while (!is_sign("}")) {
    if (!node->children.empty()) expect_sign(",");
    if (is_sign("}")) break;
    adopt(*node, expression());
    expect_sign(":");
    adopt(*node, expression());
  }
  expect_sign("}");
  return node;
}

bool ExpressionParser::tuple_ends() const {
  return now().kind == Token::Kind::kPrintEnd || now().kind == Token::Kind::kBlockEnd || is_sign(")") ||
         is_word(now(), "in");
}

// One expression, or several between commas.
ExpressionPtr ExpressionParser::tuple(bool with_condition, bool explicit_parentheses) {
  ExpressionPtr all = make(Kind::kTuple);
  bool comma = false;
  while (!tuple_ends()) {
    adopt(*all, expression(with_condition));
    comma = is_sign(",");
    if (!take_sign(",")) break;
  }
  if (all->children.empty() && !explicit_parentheses) {
    fail("expected an expression, found " + described(now()));
  }
  if (all->children.size() == 1 && !comma) return std::move(all->children[0]);
  return all;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr node) {
  for (;;) {
    if (take_sign(".")) {
      if (now().kind == Token::Kind::kInteger) {
        ExpressionPtr index = make(Kind::kConstant);
        index->value = next().number;
        node = make_with(Kind::kItem, {}, std::move(node), std::move(index));
      } else {
        std::string name = expect_name();
        node = make_with(Kind::kAttribute, std::move(name), std::move(node));
      }
    } else if (is_sign("[")) {
      node = subscript(std::move(node));
    } else if (is_sign("(")) {
      node = make_with(Kind::kCall, {}, std::move(node));
      arguments(*node);
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr node) {
  expect_sign("[");
  std::array<ExpressionPtr, 3> parts;
  size_t part = 0;
  bool slice = false;
  while (!is_sign("]")) {
    if (take_sign(":")) {
      slice = true;
      if (++part == parts.size()) fail("a slice has at most three parts");
    } else {
      if (parts[part] != nullptr) fail("expected ']', found " + described(now()));
      parts[part] = expression();
    }
  }
  expect_sign("]");
  if (slice) {
    return make_with(Kind::kSlice, {}, std::move(node), std::move(parts[0]), std::move(parts[1]),
                     std::move(parts[2]));
  }
  if (parts[0] == nullptr) fail("expected an expression, found ']'");
  return make_with(Kind::kItem, {}, std::move(node), std::move(parts[0]));
}

void ExpressionParser::arguments(Expression& call) {
  expect_sign("(");
  bool first = true;
  while (!is_sign(")")) {
    if (!first) expect_sign(",");
    first = false;
    if (is_sign(")")) break;
    if (call.children.size() + call.keywords.size() > kMaxArguments) fail("more than 64 arguments");
    if (is_sign("*") || is_sign("**")) fail("arguments from lists (*, **) are not supported");
    const Token& after = tokens_[std::min(at_ + 1, tokens_.size() - 1)];
    if (now().kind == Token::Kind::kName && after.kind == Token::Kind::kSign && after.text == "=") {
      std::string name = next().text;
      next();
      ExpressionPtr value = expression();
      call.depth = std::max(call.depth, value->depth + 1);
      if (call.depth > kMaxDepth) fail("an expression is nested more than 120 deep");
      call.keywords.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.keywords.empty()) fail("a positional argument follows a keyword argument");
      adopt(call, expression());
    }
  }
  expect_sign(")");
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr node) {
  for (;;) {
    if (take_sign("|")) {
      node = filter(std::move(node));
    } else if (take_word("is")) {
      node = test(std::move(node));
    } else if (is_sign("(")) {
      node = make_with(Kind::kCall, {}, std::move(node));
      arguments(*node);
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr node) {
  std::string name = expect_name();
  if (!is_filter(name)) fail("there is no filter '" + name.substr(0, 60) + "'");
  ExpressionPtr made = make_with(Kind::kFilter, std::move(name), std::move(node));
  if (is_sign("(")) arguments(*made);
  return made;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr node) {
  const bool negated = take_word("not");
  std::string name = expect_name();
  if (!is_test(name)) fail("there is no test '" + name.substr(0, 60) + "'");
  ExpressionPtr made = make_with(Kind::kTest, std::move(name), std::move(node));
  const bool stops = is_word(now(), "else") || is_word(now(), "or") || is_word(now(), "and") ||
                     is_word(now(), "if") || is_word(now(), "in") || is_word(now(), "not");
  const Token::Kind kind = now().kind;
  if (is_sign("(")) {
    arguments(*made);
  } else if ((kind == Token::Kind::kName && !stops) || kind == Token::Kind::kString ||
             kind == Token::Kind::kInteger || kind == Token::Kind::kFloat || is_sign("[") || is_sign("{")) {
    if (is_word(now(), "is")) fail("tests cannot be chained with is");
    adopt(*made, postfix(primary()));
  }
  return negated ? make_with(Kind::kUnary, "not", std::move(made)) : std::move(made);
}

}  // namespace outrider::chat::jinja
