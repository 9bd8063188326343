// Places in the register file: a linear scan over live intervals. Rule: a place is used by another register only where
// the value is dead on every path; an interval that enters a loop, or is carried around one, spans the whole loop.
#include <algorithm>

#include "tests/sim/parse.h"

namespace sim {

void place_registers(Function &F, std::vector<Virtual> &V) {
  auto &code = F.code;
  s32 n = code.size();
  auto touch = [&](u32 v, s32 at, bool def) {
    if (v == NONE)
      return;
    Virtual &r = V[v];
    if (r.first < 0) {
      r.first = at;
      r.first_is_def = def;
    } else if (r.first == at && !def) {
      r.first_is_def = false;
    }
    r.last = at;
  };
  struct Jump {
    s32 from, to;
  };
  std::vector<Jump> forward, back;
  for (s32 k = 0; k < n; k++) {
    const Ins &i = code[k];
    touch(i.guard, k, false);
    touch(i.a, k, false);
    touch(i.b, k, false);
    touch(i.c, k, false);
    int all = i.x ? i.nd + i.na + i.nb + i.nc : 0;
    for (int q = i.nd; q < all; q++)
      touch(i.x[q], k, false);
    bool kills = i.guard == NONE;
    touch(i.d, k, kills);
    for (int q = 0; q < (i.x ? i.nd : 0); q++)
      touch(i.x[q], k, kills);
    if (i.flags & BRANCH)
      (i.target > k ? forward : back).push_back({k, i.target});
  }
  std::sort(back.begin(), back.end(), [](Jump a, Jump b) { return a.from - a.to < b.from - b.to; });
  for (bool changed = true; changed;) {
    changed = false;
    for (Virtual &v : V) {
      if (v.fixed || v.first < 0)
        continue;
      for (const Jump &j : back) {
        s32 lo = j.to, hi = j.from;
        if (v.last < lo || v.first > hi || (v.first <= lo && v.last >= hi))
          continue;
        bool spans = v.first < lo || !v.first_is_def;
        if (!spans)  // born inside: is it born in every round before it is read?
          for (const Jump &f : forward)
            spans |= f.from >= lo && f.from < v.first && f.to > v.first && f.to <= v.last;
        if (!spans)
          continue;
        s32 first = std::min(v.first, lo), last = std::max(v.last, hi);
        if (first != v.first) {
          v.first = first;
          v.first_is_def = false;
        }
        changed |= last != v.last || first < lo;
        v.last = last;
      }
    }
    if (back.empty())
      break;
  }
  u32 top = 0;
  auto align = [&](u32 a) { top = (top + a - 1) / a * a; };
  for (Virtual &v : V)
    if (v.fixed) {
      v.offset = top;
      top += v.size == 8 ? 256 : 128;
    }
  F.constants.resize(top);
  for (Virtual &v : V)
    if (v.fixed)
      for (int l = 0; l < 32; l++) {
        char *at = F.constants.data() + v.offset;
        if (v.size == 8)
          memcpy(at + l * 8, &v.value, 8);
        else
          memcpy(at + l * 4, &v.value, 4);
      }
  std::vector<u32> order;
  for (u32 k = 0; k < V.size(); k++)
    if (!V[k].fixed && V[k].first >= 0)
      order.push_back(k);
  std::sort(order.begin(), order.end(), [&](u32 a, u32 b) { return V[a].first < V[b].first; });
  std::vector<u32> spare[3];
  std::multimap<s32, u32> active;  // end -> register
  auto kind = [&](u32 v) { return V[v].size == 0 ? 0 : V[v].size == 4 ? 1 : 2; };
  static const u32 bytes[] = {4, 128, 256};
  for (u32 v : order) {
    while (!active.empty() && active.begin()->first < V[v].first) {
      u32 old = active.begin()->second;
      spare[kind(old)].push_back(V[old].offset);
      active.erase(active.begin());
    }
    auto &s = spare[kind(v)];
    if (s.empty()) {
      if (kind(v) == 0) {  // predicates by the cache line
        align(64);
        for (u32 k = 16; k-- > 0;)
          s.push_back(top + 4 * k);
        top += 64;
      } else {
        align(64);
        s.push_back(top);
        top += bytes[kind(v)];
        F.n_registers += kind(v);
      }
    }
    V[v].offset = s.back();
    s.pop_back();
    active.insert({V[v].last, v});
  }
  align(64);
  F.file_bytes = top;
  auto place = [&](u32 &x) { x = x == NONE ? NONE : V[x].offset; };
  for (Ins &i : code) {
    for (u32 *x : {&i.d, &i.a, &i.b, &i.c, &i.guard})
      place(*x);
    for (int q = 0; q < (i.x ? i.nd + i.na + i.nb + i.nc : 0); q++)
      place(i.x[q]);
  }
  u32 *places = (u32 *)&F.sp;
  for (size_t k = 0; k < sizeof(Special) / 4; k++)
    place(places[k]);
}

}  // namespace sim
