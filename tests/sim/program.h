// Kernels as the interpreter holds them: PTX text cut into statements, then decoded to 64-byte instructions. Rule: an
// operand is the byte offset of its 32 lanes in a warp's register file (predicates: one 32-bit mask).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sim {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;

struct Warp;
struct Ins;
using Fn = void (*)(Warp &, const Ins &);
constexpr u32 NONE = ~0u;

enum Space : u8 { GLOBAL, SHARED, LOCAL, CONST, PARAM, GENERIC };
enum Type : u8 { S8, U8, S16, U16, S32, U32, S64, U64, F16, BF16, F32, F64, F16X2, BF16X2, PRED, B128, NO_TYPE };
inline int type_size(Type t) {
  static const u8 n[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 4, 4, 4, 16, 0};
  return n[t];
}

// d, a, b, c: first (or only) operand of each place. x: all operands of vector forms, nd + na + nb + nc of them.
struct Ins {
  Fn fn;
  u32 d, a, b, c;
  u32 *x;
  s64 disp;    // of an address, or an immediate
  u32 guard;   // predicate or NONE
  s32 target;  // of a branch
  u32 aux;     // the handler's own
  u16 flags;
  u8 nd, na, nb, nc, size;
  Space space;
};
enum : u16 { GUARD_NOT = 1, A_IS_64 = 2, STRONG = 4, BRANCH = 8, SIGNED = 16, B_NOT = 32, MUTATED = 64 };
static_assert(sizeof(Ins) == 64);

struct Source {
  const char *file;  // without its path
  int line;
  const char *text;  // the PTX statement
};

struct Slot {
  u32 offset, size;
};

// Where the special registers' lanes lie in the register file.
struct Special {
  u32 tid[3], ctaid[3], ntid[3], nctaid[3], laneid, warpid, nwarpid, clock, clock_hi, lanemask[5];
};

struct Function {
  std::string name, pretty;
  std::vector<Ins> code;
  std::vector<Source> source;  // one an instruction
  std::vector<std::unique_ptr<u32[]>> lists;
  std::vector<char> constants;  // image of the head of a register file
  u32 file_bytes = 0;           // size of a register file
  Special sp{};
  std::vector<Slot> params;
  std::vector<Slot> shared;  // static objects, with gaps between them
  u32 param_bytes = 0, static_shared = 0, local_bytes = 0, real_shared = 0;
  u32 max_threads = 1024, n_registers = 0;
  bool dynamic_shared = false;
  std::map<std::string, int> unknown;
  int mutants = 0;
  std::string mutant_text;
};

// The PTX of one object file. Bodies are parsed when first launched.
struct Extent {
  size_t head, body, end;  // offsets into the text: the head's parameter list, after '{', at the closing '}'
  bool entry;
};
struct Variable {
  u64 bytes, align, address;
};
struct Module {
  std::string text;
  std::map<std::string, Extent, std::less<>> functions;
  std::map<std::string, std::unique_ptr<Function>> ready;
  std::map<std::string, Variable, std::less<>> globals, shared, dynamic_shared;
  std::map<int, std::string> files;
  int target = 0;  // sm version
};

// module.cc, parse.cc. mutant: the number of the change to build in, -1 = none.
void index_module(Module &m);
std::unique_ptr<Function> parse_function(Module &m, const std::string &name, int mutant);

}  // namespace sim
