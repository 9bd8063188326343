// The changes that a mutant makes to one PTX statement. Rule: each is an error that a programmer makes (a barrier
// forgotten, a bound off by one, a condition the wrong way, operands exchanged), and is still valid PTX.
#include "tests/sim/mutate.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

namespace sim {

namespace {

struct Change {
  std::string text, what;
};

bool starts(const std::string &s, const char *p) { return s.compare(0, std::char_traits<char>::length(p), p) == 0; }

void replace(std::string &s, const std::string &a, const std::string &b) {
  if (size_t p = s.find(a); p != std::string::npos)
    s.replace(p, a.size(), b);
}

// The operands of a statement, brackets kept together: begin and end in the text.
std::vector<std::pair<size_t, size_t>> operands(const std::string &s, size_t from) {
  std::vector<std::pair<size_t, size_t>> r;
  int depth = 0;
  size_t b = from;
  for (size_t k = from; k <= s.size(); k++) {
    char c = k < s.size() ? s[k] : ',';
    depth += c == '{' || c == '[' || c == '(';
    depth -= c == '}' || c == ']' || c == ')';
    if (c != ',' || (depth && k < s.size()))
      continue;
    size_t x = b, y = k;
    while (x < y && s[x] == ' ')
      x++;
    while (y > x && s[y - 1] == ' ')
      y--;
    if (y > x)
      r.push_back({x, y});
    b = k + 1;
  }
  return r;
}

bool integer(const std::string &s) {
  size_t k = s[0] == '-';
  if (k == s.size() || (s[k] == '0' && k + 1 < s.size() && !isdigit((unsigned char)s[k + 1])))
    return false;
  for (; k < s.size(); k++)
    if (!isdigit((unsigned char)s[k]))
      return false;
  return true;
}

std::vector<Change> changes(const std::string &s) {
  std::vector<Change> r;
  size_t op = 0;
  if (s[0] == '@') {
    op = s.find(' ') + 1;
    while (op < s.size() && s[op] == ' ')
      op++;
    bool negated = s[1] == '!';
    r.push_back({negated ? "@" + s.substr(2) : "@!" + s.substr(1), "condition negated"});
  }
  size_t e = s.find(' ', op);
  std::string name = s.substr(op, e == std::string::npos ? e : e - op);
  auto ops = e == std::string::npos ? std::vector<std::pair<size_t, size_t>>() : operands(s, e);
  auto text = [&](size_t k) { return s.substr(ops[k].first, ops[k].second - ops[k].first); };
  auto with = [&](size_t k, const std::string &t) { return s.substr(0, ops[k].first) + t + s.substr(ops[k].second); };
  auto exchanged = [&](size_t a, size_t b) {
    std::string x = text(a), y = text(b), z = s;
    z.replace(ops[b].first, y.size(), x);
    z.replace(ops[a].first, x.size(), y);
    return z;
  };
  auto has = [&](const char *p) { return name.find(p) != std::string::npos; };

  for (auto p : {"bar.", "barrier.", "membar", "fence.acq", "fence.sc", "cp.async.wait", "cp.async.commit",
                 "mbarrier.arrive", "mbarrier.try_wait", "wgmma.fence", "wgmma.wait", "fence.proxy"})
    if (starts(name, p)) {
      r.push_back({"", "dropped"});
      break;
    }
  if (starts(name, "cp.async.wait_group"))
    r.push_back({with(0, std::to_string(atoi(text(0).c_str()) + 1)), "waits for one group fewer"});
  if (starts(name, "setp.") || starts(name, "set.")) {
    static const char *const pairs[][2] = {
        {".lt.", ".le."},   {".le.", ".lt."},   {".gt.", ".ge."},   {".ge.", ".gt."},
        {".lo.", ".ls."},   {".ls.", ".lo."},   {".hi.", ".hs."},   {".hs.", ".hi."},
        {".ltu.", ".leu."}, {".leu.", ".ltu."}, {".gtu.", ".geu."}, {".geu.", ".gtu."},
        {".eq.", ".ne."},   {".ne.", ".eq."},   {".equ.", ".neu."}, {".neu.", ".equ."}};
    for (auto &p : pairs)
      if (has(p[0])) {
        std::string z = s;
        replace(z, p[0], p[1]);
        r.push_back({z, std::string(p[0] + 1).substr(0, strlen(p[0]) - 2) + " became " +
                            std::string(p[1] + 1).substr(0, strlen(p[1]) - 2)});
        break;
      }
    if (has(".and."))
      r.push_back({[&] {
                     std::string z = s;
                     replace(z, ".and.", ".or.");
                     return z;
                   }(),
                   "and became or"});
    if (has(".or."))
      r.push_back({[&] {
                     std::string z = s;
                     replace(z, ".or.", ".and.");
                     return z;
                   }(),
                   "or became and"});
  }
  if (starts(name, "and.pred") || starts(name, "or.pred")) {
    std::string z = s;
    bool a = starts(name, "and.pred");
    replace(z, a ? "and.pred" : "or.pred", a ? "or.pred" : "and.pred");
    r.push_back({z, a ? "and became or" : "or became and"});
  }
  if (starts(name, "selp.") && ops.size() == 4)
    r.push_back({exchanged(1, 2), "choice exchanged"});
  if (starts(name, "mma.") && ops.size() >= 4) {
    auto in = [&](size_t k, size_t a, size_t b) {  // two registers of a fragment exchanged
      std::string f = text(k);
      auto x = operands(f, 1);
      if (!x.empty())
        x.back().second = std::min(x.back().second, f.size() - 1);
      if (x.size() <= b)
        return std::string();
      std::string p = f.substr(x[a].first, x[a].second - x[a].first),
                  q = f.substr(x[b].first, x[b].second - x[b].first);
      f.replace(x[b].first, q.size(), p);
      f.replace(x[a].first, p.size(), q);
      return with(k, f);
    };
    for (auto [k, a, b, what] : {std::tuple(1, 0, 1, "rows of A exchanged"),
                                 {1, 1, 2, "A's middle registers exchanged"},
                                 {2, 0, 1, "B's registers exchanged"},
                                 {3, 0, 2, "rows of C exchanged"}})
      if (std::string z = in(k, a, b); !z.empty())
        r.push_back({z, what});
  }
  if (starts(name, "ldmatrix.")) {
    std::string z = s;
    if (has(".trans"))
      replace(z, ".trans", "");
    else
      replace(z, ".shared", ".trans.shared");
    r.push_back({z, has(".trans") ? "not transposed" : "transposed"});
  }
  if (starts(name, "shfl.") && ops.size() == 5 && integer(text(2)))
    r.push_back({with(2, std::to_string(atoi(text(2).c_str()) * 2 % 32)), "other lane"});
  if (starts(name, "sub.") && ops.size() == 3)
    r.push_back({exchanged(1, 2), "operands exchanged"});
  if (starts(name, "min.") || starts(name, "max.")) {
    std::string z = s;
    bool a = starts(name, "min.");
    replace(z, a ? "min." : "max.", a ? "max." : "min.");
    r.push_back({z, a ? "min became max" : "max became min"});
  }
  if (starts(name, "add.f") || starts(name, "add.rn.f") || starts(name, "add.ftz.f")) {
    std::string z = s;
    replace(z, "add.", "sub.");
    r.push_back({z, "added became subtracted"});
  }
  if (starts(name, "fma.") && ops.size() == 4)
    r.push_back({exchanged(2, 3), "factor and summand exchanged"});
  bool memory = starts(name, "ld.") || starts(name, "st.") || starts(name, "atom.") || starts(name, "red.") ||
                starts(name, "ldmatrix") || starts(name, "cp.async");
  if (memory && !has(".param") && !has(".local")) {
    int size = has("b64") || has("u64") || has("f64") ? 8
               : has("b16") || has("u16")             ? 2
               : has("8") && has("b8")                ? 1
                                                      : 4;
    if (has(".v2"))
      size *= 2;
    if (has(".v4"))
      size *= 4;
    if (starts(name, "ldmatrix") || starts(name, "cp.async"))
      size = 16;
    for (size_t k = 0; k < ops.size(); k++)
      if (std::string a = text(k); a[0] == '[') {
        a.pop_back();
        size_t plus = a.find('+');
        long disp = plus == std::string::npos ? 0 : strtol(a.c_str() + plus + 1, nullptr, 0);
        if (plus != std::string::npos)
          a.resize(plus);
        r.push_back({with(k, a + "+" + std::to_string(disp + size) + "]"), "address shifted by one access"});
      }
  }
  static const char *const arithmetic[] = {"add.s32", "add.s64", "mad.lo.s32", "mul.lo.s32", "mul.wide",
                                           "shl.b",   "shr.",    "and.b32",    "setp.",      "or.b32"};
  for (auto p : arithmetic)
    if (starts(name, p)) {
      for (size_t k = 1; k < ops.size(); k++)
        if (integer(text(k)))
          r.push_back({with(k, std::to_string(strtoll(text(k).c_str(), nullptr, 10) + 1)), "constant larger by one"});
      break;
    }
  return r;
}

}  // namespace

int count_mutations(const std::string &s) { return changes(s).size(); }

std::string mutate_statement(const std::string &s, int k, std::string *what) {
  auto c = changes(s);
  *what = c[k].what;
  return c[k].text;
}

}  // namespace sim
