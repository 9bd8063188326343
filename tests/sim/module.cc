// PTX text: a module's functions, variables and files are found, bodies are left for later. Rule: nothing is decoded
// before it is launched, as a library holds hundreds of kernels.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/sim/parse.h"

namespace sim {

Type type_of(std::string_view s) {
  static const std::map<std::string_view, Type> names = {
      {"s8", S8},     {"u8", U8},     {"b8", U8},   {"s16", S16},   {"u16", U16},     {"b16", U16},
      {"s32", S32},   {"u32", U32},   {"b32", U32}, {"s64", S64},   {"u64", U64},     {"b64", U64},
      {"f16", F16},   {"f32", F32},   {"f64", F64}, {"bf16", BF16}, {"f16x2", F16X2}, {"bf16x2", BF16X2},
      {"b128", B128}, {"pred", PRED}, {"tf32", U32}};
  auto i = names.find(s);
  return i == names.end() ? NO_TYPE : i->second;
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && isspace((unsigned char)s.front()))
    s.remove_prefix(1);
  while (!s.empty() && isspace((unsigned char)s.back()))
    s.remove_suffix(1);
  return s;
}

std::vector<std::string_view> split(std::string_view s) {
  std::vector<std::string_view> r;
  int depth = 0;
  size_t from = 0;
  for (size_t k = 0; k <= s.size(); k++) {
    char c = k < s.size() ? s[k] : ',';
    depth += c == '{' || c == '[' || c == '(';
    depth -= c == '}' || c == ']' || c == ')';
    if (c == ',' && (!depth || k == s.size())) {
      if (auto x = trim(s.substr(from, k - from)); !x.empty())
        r.push_back(x);
      from = k + 1;
    }
  }
  return r;
}

// Text without comments; lines stay.
static std::string without_comments(std::string_view t) {
  std::string r;
  r.reserve(t.size());
  for (size_t k = 0; k < t.size(); k++) {
    if (t[k] == '/' && k + 1 < t.size() && t[k + 1] == '/') {
      while (k < t.size() && t[k] != '\n')
        k++;
      r += '\n';
    } else if (t[k] == '/' && k + 1 < t.size() && t[k + 1] == '*') {
      k = std::min(t.find("*/", k), t.size() - 2) + 1;
    } else {
      r += t[k];
    }
  }
  return r;
}

// Size, alignment and name of a declaration.
Declaration declaration(std::string_view s) {
  Declaration d;
  u64 unit = 1;
  const char *p = s.data(), *end = p + s.size();
  while (p < end) {
    while (p < end && isspace((unsigned char)*p))
      p++;
    const char *w = p;
    while (p < end && is_name(*p))
      p++;
    std::string_view word(w, p - w);
    if (word == ".align") {
      d.align = strtoull(p, const_cast<char **>(&p), 10);
    } else if (word.empty()) {
      break;
    } else if (word[0] == '.') {
      if (Type t = type_of(word.substr(1)); t != NO_TYPE)
        unit = type_size(t);
    } else {
      d.name = word;
      u64 count = 1;
      while (p < end && (*p == '[' || isspace((unsigned char)*p))) {
        if (*p == '[')
          count *= strtoull(p + 1, nullptr, 10);
        p = *p == '[' ? std::find(p, end, ']') + 1 : p + 1;
      }
      d.bytes = count * unit;
      break;
    }
  }
  d.align = std::max(d.align, unit);
  return d;
}

// A module's variable with its initial value ("= {1, 2}", "= 5"); addresses as initial values are not understood.
static void define_global(Module &m, std::string_view s) {
  size_t eq = s.find('=');
  Declaration d = declaration(s.substr(0, eq));
  u64 a = heap_alloc(std::max<u64>(d.bytes, 16), "module");
  if (!a)
    return;
  memset((void *)a, 0, d.bytes);
  heap_define(a, d.bytes);
  m.globals[d.name] = {d.bytes, d.align, a};
  if (eq == std::string_view::npos)
    return;
  u64 unit = 1;
  for (auto t : {".b16", ".u16", ".s16", ".f16"})
    unit = s.substr(0, eq).find(t) != std::string_view::npos ? 2 : unit;
  for (auto t : {".b32", ".u32", ".s32", ".f32"})
    unit = s.substr(0, eq).find(t) != std::string_view::npos ? 4 : unit;
  for (auto t : {".b64", ".u64", ".s64", ".f64"})
    unit = s.substr(0, eq).find(t) != std::string_view::npos ? 8 : unit;
  u64 k = 0;
  for (const char *p = s.data() + eq + 1, *end = s.data() + s.size(); p < end && k + unit <= d.bytes;) {
    if (isdigit((unsigned char)*p) || *p == '-') {
      char *after;
      u64 v = p[0] == '0' && (p[1] == 'f' || p[1] == 'd') ? strtoull(p + 2, &after, 16)
              : *p == '-'                                 ? (u64)strtoll(p, &after, 0)
                                                          : strtoull(p, &after, 0);
      memcpy((void *)(a + k), &v, unit);
      k += unit;
      p = after;
    } else {
      p++;
    }
  }
}

void index_module(Module &m) {
  m.text = without_comments(m.text);
  const std::string &t = m.text;
  size_t p = 0;
  auto line_end = [&] { return std::min(t.find('\n', p), t.size()); };
  while (p < t.size()) {
    if (isspace((unsigned char)t[p]) || t[p] == ';') {
      p++;
      continue;
    }
    std::string_view rest(t.data() + p, t.size() - p);
    auto starts = [&](std::string_view x) { return rest.substr(0, x.size()) == x; };
    if (starts(".version") || starts(".target") || starts(".address_size") || starts(".file")) {
      int id;
      char name[600];
      if (starts(".file") && sscanf(t.c_str() + p, ".file %d \"%599[^\"]\"", &id, name) == 2) {
        const char *slash = strrchr(name, '/');
        m.files[id] = slash ? slash + 1 : name;
      }
      if (starts(".target"))
        m.target = atoi(t.c_str() + t.find('_', p) + 1);
      p = line_end();
    } else if (starts(".section")) {
      p = t.find('}', p);
      p = p == std::string::npos ? t.size() : p + 1;
    } else {
      size_t e = t.find_first_of(";{(=", p);
      std::string_view head(t.data() + p, std::min(e, t.size()) - p);
      bool entry = head.find(".entry") != std::string_view::npos;
      if (entry || head.find(".func") != std::string_view::npos) {
        size_t semicolon = t.find(';', p), brace = t.find('{', p);
        if (semicolon < brace) {  // a declaration
          p = semicolon + 1;
          continue;
        }
        size_t q = p + head.find(entry ? ".entry" : ".func") + (entry ? 6 : 5);
        Extent x{q, brace + 1, 0, entry};
        while (isspace((unsigned char)t[q]))
          q++;
        if (t[q] == '(')  // what the function returns
          q = t.find(')', q) + 1;
        while (isspace((unsigned char)t[q]))
          q++;
        size_t n = q;
        while (is_name(t[n]))
          n++;
        int depth = 1;
        for (p = brace + 1; p < t.size() && depth; p++)
          depth += (t[p] == '{') - (t[p] == '}');
        x.end = p - 1;
        m.functions[t.substr(q, n - q)] = x;
      } else {
        size_t semicolon = std::min(t.find(';', p), t.size());
        std::string_view s(t.data() + p, semicolon - p);
        if (head.find(".shared") != std::string_view::npos) {
          Declaration d = declaration(s);
          (head.find(".extern") != std::string_view::npos || !d.bytes ? m.dynamic_shared : m.shared)[d.name] = {
              d.bytes, d.align, 0};
        } else if (head.find(".global") != std::string_view::npos || head.find(".const") != std::string_view::npos) {
          define_global(m, s);
        }
        p = semicolon + 1;
      }
    }
  }
}

}  // namespace sim
