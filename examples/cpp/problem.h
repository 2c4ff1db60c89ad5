// What a user can do something about, in one line: where, what, and the cure.

#pragma once

#include <stdexcept>
#include <string>

inline constexpr int kFailed = 1, kUnfit = 2;  // exit codes

struct Problem : std::runtime_error {
  Problem(int exit_code, const std::string& where, const std::string& what_and_cure)
      : std::runtime_error(where + ": " + what_and_cure), code(exit_code) {}
  int code;
};

inline std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }
