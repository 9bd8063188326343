// PTX text to instructions: cuts a kernel's body into statements, has them decoded (ops_*.cc) and builds called
// functions in where they stand. Rule: what is not understood becomes an instruction that reports itself when it is
// executed.
#include "tests/sim/parse.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>

#include "tests/sim/mutate.h"

namespace sim {

namespace {

struct Range {  // ".reg .b32 %r<60>"
  u32 start, count;
};
struct Scope {
  int id;
  bool function;  // names outside of it are not seen
  std::map<std::string, Range, std::less<>> registers;
  std::map<std::string, u32, std::less<>> locals;  // .local and .param variables: offset in local memory
  std::map<std::string, u32, std::less<>> shared;
};
struct Fix {
  size_t at;
  std::string label;
  std::vector<int> scopes;
};

void mutant_here(Warp &w, const Ins &) { mark_mutant_ran(); }

class Parser : public Decoder {
 public:
  Parser(Module &m, int mutant) : M(m), mutant(mutant), F(new Function) {}
  std::unique_ptr<Function> run(const std::string &name);

  u32 operand(std::string_view s, int bytes) override;
  bool is_register(std::string_view s, int *bytes) override {
    u32 v = find_register(s);
    if (v == NONE)
      return false;
    *bytes = V[v].size;
    return true;
  }
  bool symbol(std::string_view s, u64 *value) override;
  bool parameter(std::string_view s, u32 *offset) override {
    auto i = params.find(s);
    if (i == params.end())
      return false;
    *offset = i->second;
    return true;
  }
  void list(Ins &i, const std::vector<u32> &all) override {
    F->lists.emplace_back(new u32[all.size()]);
    i.x = F->lists.back().get();
    std::copy(all.begin(), all.end(), i.x);
  }

 private:
  Module &M;
  int mutant, mutations_seen = 0, next_scope = 0, depth = 0;
  std::unique_ptr<Function> F;
  std::vector<Virtual> V;
  std::vector<Scope> scopes;
  std::map<std::pair<u64, int>, u32> constants;
  std::map<std::string_view, u32> specials;
  std::map<std::string, u32, std::less<>> params;
  std::map<std::pair<int, std::string>, s32> labels;
  std::vector<Fix> fixes;
  std::vector<std::string> stack;  // functions being built in
  const char *file = "?";
  int line = 0;

  u32 make(int size, bool fixed = false, u64 value = 0) {
    V.push_back({(u8)size, fixed, value});
    return V.size() - 1;
  }
  u32 constant(u64 v, int bytes) {
    auto [i, fresh] = constants.insert({{v, bytes}, 0});
    if (fresh)
      i->second = make(bytes, true, v);
    return i->second;
  }
  u32 find_register(std::string_view s);
  void open(bool function) { scopes.push_back({next_scope++, function, {}, {}, {}}); }
  u32 local(u64 bytes, u64 align) {
    u32 o = (F->local_bytes + align - 1) / align * align;
    F->local_bytes = o + bytes;
    return o;
  }
  u32 place_shared(const Declaration &d);
  std::vector<std::string> head(const Extent &x, bool entry);
  void body(const Extent &x);
  void location(std::string_view s);
  void declare_registers(std::string_view s);
  void statement(std::string_view s);
  void decode(const std::string &s, bool mutated);
  void call(const Statement &s, Ins &i);
  void emit(const Ins &i, const std::string &text);
};

u32 Parser::find_register(std::string_view s) {
  size_t digits = s.size();
  while (digits && isdigit((unsigned char)s[digits - 1]))
    digits--;
  for (size_t k = scopes.size(); k-- > 0;) {
    auto &r = scopes[k].registers;
    if (auto i = r.find(s); i != r.end() && i->second.count == 0)
      return i->second.start;
    if (digits < s.size())
      if (auto i = r.find(s.substr(0, digits)); i != r.end() && i->second.count) {
        u32 n = atoi(std::string(s.substr(digits)).c_str());
        if (n < i->second.count)
          return i->second.start + n;
      }
    if (scopes[k].function)
      break;
  }
  return NONE;
}

bool Parser::symbol(std::string_view s, u64 *value) {
  for (size_t k = scopes.size(); k-- > 0;) {
    if (auto i = scopes[k].shared.find(s); i != scopes[k].shared.end()) {
      *value = i->second;
      return true;
    }
    if (auto i = scopes[k].locals.find(s); i != scopes[k].locals.end()) {
      *value = i->second;
      return true;
    }
    if (scopes[k].function)
      break;
  }
  if (auto i = scopes[0].shared.find(s); i != scopes[0].shared.end()) {
    *value = i->second;
    return true;
  }
  if (auto i = M.globals.find(s); i != M.globals.end()) {
    *value = i->second.address;
    return true;
  }
  if (auto i = params.find(s); i != params.end() && !depth) {
    *value = i->second;
    return true;
  }
  return false;
}

u32 Parser::operand(std::string_view s, int bytes) {
  if (s == "_")
    return NONE;
  if (!s.empty() && s[0] == '!')
    s.remove_prefix(1);
  if (u32 v = find_register(s); v != NONE)
    return v;
  if (auto i = specials.find(s); i != specials.end())
    return i->second;
  if (s == "WARP_SZ")
    return constant(32, bytes);
  std::string z(s);
  if (z.size() > 2 && z[0] == '0' && (z[1] == 'f' || z[1] == 'F'))
    return constant(strtoul(z.c_str() + 2, nullptr, 16), 4);
  if (z.size() > 2 && z[0] == '0' && (z[1] == 'd' || z[1] == 'D'))
    return constant(strtoull(z.c_str() + 2, nullptr, 16), 8);
  if (!z.empty() && (isdigit((unsigned char)z[0]) || z[0] == '-')) {
    u64 v = z[0] == '-' ? (u64)strtoll(z.c_str(), nullptr, 0) : strtoull(z.c_str(), nullptr, 0);
    return constant(bytes == 8 ? v : (u32)v, bytes == 8 ? 8 : 4);
  }
  if (z == "true" || z == "false")
    return constant(z == "true" ? ~0u : 0, 4);
  u64 v;
  if (symbol(s, &v))
    return constant(bytes == 8 ? v : (u32)v, bytes == 8 ? 8 : 4);
  F->unknown["operand " + z]++;
  return constant(0, bytes == 8 ? 8 : 4);
}

}  // namespace

void Decoder::address(std::string_view s, Ins &i) {
  if (!s.empty() && s[0] == '[')
    s = s.substr(1, s.size() - 2);
  size_t plus = s.find('+', 1);
  i.disp = 0;
  if (plus != std::string_view::npos) {
    i.disp = strtoll(std::string(trim(s.substr(plus + 1))).c_str(), nullptr, 0);
    s = trim(s.substr(0, plus));
  }
  int bytes = 8;
  is_register(s, &bytes);
  i.a = operand(s, 8);
  if (bytes == 8)
    i.flags |= A_IS_64;
}

std::vector<u32> Decoder::operands(std::string_view s, int bytes) {
  std::vector<u32> r;
  if (!s.empty() && s[0] == '{') {
    for (auto x : split(s.substr(1, s.size() - 2)))
      r.push_back(operand(x, bytes));
  } else {
    r.push_back(operand(s, bytes));
  }
  return r;
}

bool Decoder::immediate(std::string_view s, s64 *value) {
  if (s.empty() || !(isdigit((unsigned char)s[0]) || s[0] == '-') || s.substr(0, 2) == "0f" || s.substr(0, 2) == "0d")
    return false;
  *value = strtoll(std::string(s).c_str(), nullptr, 0);
  return true;
}

namespace {

u32 Parser::place_shared(const Declaration &d) {
  u32 at = (F->static_shared + d.align - 1) / d.align * d.align;
  F->shared.push_back({at, (u32)d.bytes});
  F->static_shared = at + d.bytes + 128;  // the gap makes an overrun visible
  F->real_shared = (F->real_shared + d.align - 1) / d.align * d.align + d.bytes;
  return at;
}

// Parameters of a function: names, in order (what it returns first). Of a kernel, their places too.
std::vector<std::string> Parser::head(const Extent &x, bool entry) {
  std::vector<std::string> names;
  const std::string &t = M.text;
  std::string_view h(t.data() + x.head, x.body - 1 - x.head);
  for (size_t p = 0; (p = h.find('(', p)) != std::string_view::npos;) {
    size_t e = h.find(')', p);
    for (auto d : split(h.substr(p + 1, e - p - 1))) {
      std::string s(d);
      for (size_t q; (q = s.find(".ptr")) != std::string::npos;)
        s.erase(q, 4);
      for (auto space : {".global", ".shared", ".const", ".local"})
        if (size_t q = s.find(space); q != std::string::npos)
          s.erase(q, strlen(space));
      // ".param .u64 .align 1 name": after .ptr is gone the last .align is the pointed-to object's.
      bool pointer = d.find(".ptr") != std::string_view::npos;
      Declaration q = declaration(s.substr(s.find(".param") + 6));
      if (pointer)
        q.align = 8;
      names.push_back(q.name);
      if (entry) {
        u32 at = (F->param_bytes + q.align - 1) / q.align * q.align;
        params[q.name] = at;
        F->params.push_back({at, (u32)q.bytes});
        F->param_bytes = at + q.bytes;
      }
    }
    p = e;
  }
  if (entry)
    for (auto word : {".maxntid", ".reqntid"})
      if (size_t q = h.find(word); q != std::string_view::npos) {
        u32 a = 1, b = 1, c = 1;
        sscanf(t.c_str() + x.head + q + 8, "%u , %u , %u", &a, &b, &c);
        F->max_threads = a * b * c;
      }
  return names;
}

std::unique_ptr<Function> Parser::run(const std::string &name) {
  const Extent &x = M.functions.find(name)->second;
  F->name = name;
  int status;
  char *pretty = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  F->pretty = pretty ? pretty : name;
  free(pretty);
  // "void kernel<3>(float*, int)" is read as "kernel<3>"
  if (size_t p = F->pretty.rfind('('); p != std::string::npos && p)
    F->pretty.erase(p);
  if (F->pretty.compare(0, 5, "void ") == 0)
    F->pretty.erase(0, 5);
  static const char *const names[] = {
      "%tid.x",    "%tid.y",       "%tid.z",       "%ctaid.x",     "%ctaid.y",     "%ctaid.z",    "%ntid.x",  "%ntid.y",
      "%ntid.z",   "%nctaid.x",    "%nctaid.y",    "%nctaid.z",    "%laneid",      "%warpid",     "%nwarpid", "%clock",
      "%clock_hi", "%lanemask_eq", "%lanemask_le", "%lanemask_lt", "%lanemask_ge", "%lanemask_gt"};
  u32 *places = (u32 *)&F->sp;
  static_assert(sizeof(Special) == sizeof names / sizeof *names * 4);
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    places[k] = specials[names[k]] = make(4, true);
  for (auto zero : {"%clusterid.x", "%clusterid.y", "%clusterid.z", "%cluster_ctaid.x", "%cluster_ctaid.y",
                    "%cluster_ctaid.z", "%cluster_ctarank", "%smid", "%gridid"})
    specials[zero] = constant(0, 4);
  for (auto one : {"%cluster_nctaid.x", "%cluster_nctaid.y", "%cluster_nctaid.z", "%cluster_nctarank"})
    specials[one] = constant(1, 4);
  open(true);
  for (auto &g : M.shared) {  // every kernel sees the module's shared variables that it names
    const Extent &e = x;
    if (std::string_view(M.text.data() + e.body, e.end - e.body).find(g.first) != std::string_view::npos)
      scopes[0].shared[g.first] = place_shared({g.first, g.second.bytes, g.second.align});
  }
  head(x, true);
  stack.push_back(name);
  // Static variables first, so that dynamic memory begins behind them: functions built in may declare some too, but
  // nvcc keeps those at module level.
  for (size_t p = x.body; (p = M.text.find(".shared ", p)) < x.end; p++) {
    size_t nl = M.text.rfind('\n', p);
    if (trim(std::string_view(M.text).substr(nl + 1, p - nl - 1)).empty()) {
      Declaration d = declaration(std::string_view(M.text).substr(p + 8, M.text.find(';', p) - p - 8));
      scopes[0].shared[d.name] = place_shared(d);
    }
  }
  u32 align = 16;
  for (auto &d : M.dynamic_shared)
    align = std::max<u32>(align, d.second.align);
  F->static_shared = (F->static_shared + align - 1) / align * align;
  for (auto &d : M.dynamic_shared) {
    scopes[0].shared[d.first] = F->static_shared;
    F->dynamic_shared |=
        std::string_view(M.text.data() + x.body, x.end - x.body).find(d.first) != std::string_view::npos;
  }
  body(x);
  Ins end{};
  end.guard = NONE;
  Statement ret;
  ret.text = "ret";
  ret.op = {"ret"};
  decode_warp(*this, ret, end);
  emit(end, "ret");
  for (auto &f : fixes) {
    s32 at = -1;
    for (size_t k = f.scopes.size(); k-- > 0 && at < 0;)
      if (auto i = labels.find({f.scopes[k], f.label}); i != labels.end())
        at = i->second;
    if (at < 0)
      F->unknown["label " + f.label]++;
    F->code[f.at].target = std::max(at, 0);
  }
  F->mutants = mutations_seen;
  F->local_bytes = (F->local_bytes + 15) / 16 * 16;
  place_registers(*F, V);
  return std::move(F);
}

void Parser::location(std::string_view s) {  // ".loc 1 13 3, function_name $L__info_string0, inlined_at 1 20 5"
  int f, l;
  std::string z(s);
  if (sscanf(z.c_str(), ".loc %d %d", &f, &l) != 2 || !l)
    return;
  if (size_t at = z.find("inlined_at"); at != std::string::npos)
    sscanf(z.c_str() + at, "inlined_at %d %d", &f, &l);
  file = M.files[f].c_str();
  line = l;
}

void Parser::declare_registers(std::string_view s) {  // ".reg .b32 %r<60>" or ".reg .pred p, q"
  s = trim(s.substr(4));
  size_t e = 0;
  while (e < s.size() && !isspace((unsigned char)s[e]))
    e++;
  Type t = type_of(s.substr(1, e - 1));
  int size = t == PRED ? 0 : t == B128 ? 16 : type_size(t) == 8 ? 8 : 4;
  for (auto r : split(s.substr(e))) {
    size_t b = r.find('<');
    u32 n = b == std::string_view::npos ? 0 : atoi(std::string(r.substr(b + 1)).c_str());
    u32 start = V.size();
    for (u32 k = 0; k < std::max(n, 1u); k++)
      make(size == 16 ? 8 : size);
    scopes.back().registers[std::string(r.substr(0, b))] = {start, n};
    if (size == 16)
      F->unknown[".b128 register"]++;
  }
}

void Parser::body(const Extent &x) {
  const std::string &t = M.text;
  size_t p = x.body, base = scopes.size();
  auto upto = [&](char c) {
    size_t q = std::min(t.find(c, p), x.end);
    std::string_view s(t.data() + p, q - p);
    p = q + 1;
    return s;
  };
  while (p < x.end) {
    if (isspace((unsigned char)t[p]) || t[p] == ';') {
      p++;
    } else if (t[p] == '{') {
      open(false);
      p++;
    } else if (t[p] == '}') {
      if (scopes.size() > base)
        scopes.pop_back();
      p++;
    } else if (t.compare(p, 4, ".loc") == 0 && isspace((unsigned char)t[p + 4])) {
      location(upto('\n'));
    } else if (t.compare(p, 4, ".reg") == 0) {
      declare_registers(upto(';'));
    } else if (t.compare(p, 6, ".local") == 0 || t.compare(p, 6, ".param") == 0) {
      Declaration d = declaration(upto(';').substr(6));
      scopes.back().locals[d.name] = local(d.bytes, d.align);
    } else if (t[p] == '.') {  // .shared (placed already), .pragma, .callprototype
      upto(';');
    } else {
      size_t c = p;
      while (c < x.end && is_name(t[c]))
        c++;
      size_t colon = c;
      while (colon < x.end && (t[colon] == ' ' || t[colon] == '\t'))
        colon++;
      if (t[colon] == ':' && t[colon + 1] != ':') {
        labels[{scopes.back().id, t.substr(p, c - p)}] = F->code.size();
        p = colon + 1;
      } else {
        statement(trim(upto(';')));
      }
    }
  }
  scopes.resize(base);
}

void Parser::emit(const Ins &i, const std::string &text) {
  F->code.push_back(i);
  static std::mutex lock;
  static std::set<std::string> texts;
  std::lock_guard<std::mutex> hold(lock);
  F->source.push_back({file, line, texts.insert(text).first->c_str()});
}

void Parser::statement(std::string_view s) {
  std::string text(s);
  for (char &c : text)
    c = isspace((unsigned char)c) ? ' ' : c;
  int n = count_mutations(text);
  if (mutant < mutations_seen || mutant >= mutations_seen + n) {
    mutations_seen += n;
    decode(text, false);
    return;
  }
  std::string what, changed = mutate_statement(text, mutant - mutations_seen, &what);
  mutations_seen += n;
  F->mutant_text = std::string(file) + ":" + std::to_string(line) + ": `" + text + "`: " + what;
  Ins mark{};
  mark.guard = NONE;
  mark.fn = mutant_here;
  mark.d = mark.a = mark.b = mark.c = NONE;
  emit(mark, text);
  if (!changed.empty())
    decode(changed, true);
}

void Parser::decode(const std::string &text, bool mutated) {
  Ins i{};
  i.guard = i.d = i.a = i.b = i.c = NONE;
  Statement st;
  st.text = text;
  std::string_view s = st.text;
  if (s[0] == '@') {
    size_t e = s.find(' ');
    std::string_view g = s.substr(1, e - 1);
    if (g[0] == '!') {
      i.flags |= GUARD_NOT;
      g.remove_prefix(1);
    }
    i.guard = operand(g, 4);
    s = trim(s.substr(e));
  }
  size_t e = std::min(s.find_first_of(" {[("), s.size());
  std::string_view op = s.substr(0, e);
  st.args = split(s.substr(e));
  for (size_t p = 0; p <= op.size();) {
    size_t q = std::min(op.find('.', p), op.size());
    std::string_view part = op.substr(p, q - p);
    st.op.push_back(part.substr(0, part.find("::")));
    p = q + 1;
  }
  std::string_view name = st.op[0];
  if (name == "call") {
    call(st, i);
    return;
  }
  if (name == "ret" && depth) {  // of a function built in
    st.op = {"bra"};
    st.args = {"$end$"};
  }
  if (name == "bra" || st.op[0] == "bra") {
    Fix f{F->code.size(), std::string(st.args[0]), {}};
    for (size_t k = scopes.size(); k-- > 0;) {
      f.scopes.insert(f.scopes.begin(), scopes[k].id);
      if (scopes[k].function)
        break;
    }
    fixes.push_back(f);
  }
  bool known = decode_warp(*this, st, i) || decode_memory(*this, st, i) || decode_async(*this, st, i) ||
               decode_matrix(*this, st, i) || decode_convert(*this, st, i) || decode_float(*this, st, i) ||
               decode_integer(*this, st, i);
  if (!known || !i.fn) {
    F->unknown[std::string(op)]++;
    Ins u{};
    u.fn = unknown_instruction;
    u.guard = i.guard;
    u.flags = i.flags & GUARD_NOT;
    u.d = u.a = u.b = u.c = NONE;
    i = u;
  }
  emit(i, text);
}

// Calls are built in where they stand. Parameters live in local memory.
void Parser::call(const Statement &s, Ins &i) {
  std::vector<std::string_view> actual;
  std::string_view callee;
  for (auto a : s.args) {
    if (a[0] == '(') {
      for (auto x : split(a.substr(1, a.size() - 2)))
        actual.push_back(x);
    } else if (callee.empty()) {
      callee = a;
    }
  }
  std::vector<u32> places;
  for (auto a : actual) {
    u64 v = 0;
    symbol(a, &v);
    places.push_back(v);
  }
  auto x = M.functions.find(callee);
  Statement builtin = s;
  if (x == M.functions.end() || std::find(stack.begin(), stack.end(), callee) != stack.end()) {
    i.nd = 0;
    builtin.op = {"call", callee};
    if (decode_warp(*this, builtin, i)) {  // vprintf, __assertfail: disp the first parameter's place, aux the second's
      bool returns = s.args[0][0] == '(';
      i.disp = places.size() > returns ? places[returns] : 0;
      i.aux = places.size() > returns + 1u ? places[returns + 1] : 0;
      i.target = returns && !places.empty() ? (s32)places[0] : -1;
      emit(i, s.text);
      return;
    }
    F->unknown["call " + std::string(callee)]++;
    i.fn = unknown_instruction;
    emit(i, s.text);
    return;
  }
  if (i.guard != NONE)
    F->unknown["guarded call"]++;
  auto formal = head(x->second, false);
  open(true);
  int scope = scopes.back().id;
  for (size_t k = 0; k < formal.size() && k < places.size(); k++)
    scopes.back().locals[formal[k]] = places[k];
  stack.emplace_back(callee);
  depth++;
  const char *f = file;
  int l = line;
  body(x->second);
  file = f;
  line = l;
  depth--;
  stack.pop_back();
  scopes.pop_back();
  labels[{scope, "$end$"}] = F->code.size();
}

}  // namespace

std::unique_ptr<Function> parse_function(Module &m, const std::string &name, int mutant) {
  return Parser(m, mutant).run(name);
}

}  // namespace sim
