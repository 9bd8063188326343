// What the parser's files share (module.cc finds functions and variables, parse.cc decodes bodies, registers.cc gives
// registers their places).
#pragma once
#include "tests/sim/interp.h"

namespace sim {

struct Declaration {  // ".align 4 .b8 name[16]"
  std::string name;
  u64 bytes = 0, align = 1;
};
Declaration declaration(std::string_view s);
std::string_view trim(std::string_view s);
inline bool is_name(char c) { return isalnum((unsigned char)c) || c == '$' || c == '_' || c == '%' || c == '.'; }

struct Virtual {  // a register before it has a place
  u8 size;        // 0 predicate, 4, 8
  bool fixed;     // constant or special: never dies
  u64 value;
  s32 first = -1, last = -1;
  bool first_is_def = false;
  u32 offset = 0;
};
// Replaces the numbers of registers in f's code by places in the register file.
void place_registers(Function &f, std::vector<Virtual> &registers);

}  // namespace sim
