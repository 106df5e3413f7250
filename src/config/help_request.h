// --help and --version, which every command takes.
#pragma once

#include <optional>
#include <string>

namespace outrider::config {

// Where one of them was given, nothing else has been read.
struct HelpRequest {
  std::optional<std::string> help;  // the topic: "" for --help, "max" for --help=max
  bool version = false;

  bool asks() const { return help || version; }
  // The same as `other`. True when it asks for something.
  bool take(const HelpRequest& other) {
    *this = other;
    return asks();
  }
};

}  // namespace outrider::config
