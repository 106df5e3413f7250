// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chat/jinja_value.h"

namespace outrider::chat::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kConstant,   // value
    kName,       // name
    kList,       // children
    kTuple,      // children
    kDict,       // children: key, value, key, value...
    kUnary,      // name: "-", "+" or "not"; children[0]
    kBinary,     // name; children[0], children[1]
    kAnd,        // children[0], children[1]
    kOr,         // the same
    kConcat,     // children
    kCompare,    // children[0], then children[i + 1] against operators[i]
    kCondition,  // children: value, condition, other value (may be null)
    kAttribute,  // children[0].name
    kItem,       // children[0][children[1]]
    kSlice,      // children[0][children[1] : children[2] : children[3]], each may be null
    kCall,       // children[0](the other children, keywords)
    kFilter,     // children[0] | name(the other children, keywords); children[0] is null in {% filter %}
    kTest,       // children[0] is name(the other children, keywords)
  };
  Kind kind;
  int line = 0;
  int depth = 1;  // of the tree below
  std::string name;
  Value value;
  std::vector<ExpressionPtr> children;
  std::vector<std::string> operators;
  std::vector<std::pair<std::string, ExpressionPtr>> keywords;
};

struct Statement;
using Statements = std::vector<Statement>;

// A parameter of a macro.
struct Parameter {
  std::string name;
  ExpressionPtr initial;  // null: none
};

struct Branch {
  ExpressionPtr condition;  // null: else
  std::unique_ptr<Statements> body;
};

struct Statement {
  enum class Kind {
    kText,       // name is the text
    kPrint,      // expression
    kIf,         // branches
    kFor,        // target in expression if condition: body, otherwise
    kSet,        // target = expression
    kSetBlock,   // target = body, through the filters in expression (may be null)
    kWith,       // assignments, body
    kMacro,      // name(parameters) body
    kCallBlock,  // expression with body as caller(parameters)
    kFilter,     // body through the filters in expression
    kScope,      // body
    kBreak,
    kContinue,
  };
  Kind kind;
  int line = 0;
  std::string name;
  ExpressionPtr target, expression, condition;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  std::unique_ptr<Statements> body, otherwise;
};

}  // namespace outrider::chat::jinja
