// ldmatrix, stmatrix, movmatrix, mma.sync. Rule: fragments lie as the PTX manual draws them: with e elements in a
// 32-bit register, g = lane / 4 and t = lane % 4, register r of A holds row g + 8 (r & 1), columns t e + 4 e (r / 2)
// ..., register r of B rows t e + 4 e r ... of column g, and register r of C row g + 8 (r / 2), column 2 t + (r & 1).
#include <algorithm>
#include <cmath>

#include "tests/sim/half.h"
#include "tests/sim/interp.h"

namespace sim {

// x: the registers. aux: 1 transposed.
static void op_ldmatrix(Warp &w, const Ins &i) {
  if (!gate(w, i, ~0u))
    return;
  u64 a[32];
  addresses(w, i, a);
  u32 rows = i.nd * 8;
  access(w, i, SHARED, a, rows == 32 ? ~0u : (1u << rows) - 1, 16, READ);
  for (int k = 0; k < i.nd; k++) {
    u32 *d = reg<u32>(w, i.nd == 1 ? i.d : i.x[k]);
    if (!i.aux) {
      for (int g = 0; g < 8; g++)
        memcpy(d + 4 * g, (void *)a[k * 8 + g], 16);
    } else {
      for (int l = 0; l < 32; l++) {
        u16 lo, hi;
        memcpy(&lo, (char *)a[k * 8 + l % 4 * 2] + l / 4 * 2, 2);
        memcpy(&hi, (char *)a[k * 8 + l % 4 * 2 + 1] + l / 4 * 2, 2);
        d[l] = lo | (u32)hi << 16;
      }
    }
  }
}

static void op_stmatrix(Warp &w, const Ins &i) {
  if (!gate(w, i, ~0u))
    return;
  u64 a[32];
  addresses(w, i, a);
  u32 rows = i.nb * 8;
  access(w, i, SHARED, a, rows == 32 ? ~0u : (1u << rows) - 1, 16, WRITE);
  for (int k = 0; k < i.nb; k++) {
    u32 *b = reg<u32>(w, i.nb == 1 ? i.b : i.x[k]);
    for (int l = 0; l < 32; l++)
      for (int h = 0; h < 2; h++) {
        u16 v = b[l] >> 16 * h;
        int row = l / 4, column = l % 4 * 2 + h;
        if (i.aux)
          std::swap(row, column);
        memcpy((char *)a[k * 8 + row] + column * 2, &v, 2);
      }
  }
}

static void op_movmatrix(Warp &w, const Ins &i) {
  if (!gate(w, i, ~0u))
    return;
  u32 a[32], *d = reg<u32>(w, i.d);
  memcpy(a, reg<u32>(w, i.a), sizeof a);
  auto at = [&](int r, int c) { return a[r * 4 + c / 2] >> (c & 1) * 16 & 0xffff; };
  for (int l = 0; l < 32; l++)
    d[l] = at(l % 4 * 2, l / 4) | at(l % 4 * 2 + 1, l / 4) << 16;
}

enum Element : u8 { E_F16, E_BF16, E_TF32, E_E4M3, E_E5M2, E_S8, E_U8 };
static int per_register(Element e) { return e <= E_BF16 ? 2 : e == E_TF32 ? 1 : 4; }

// The numbers of four neighbouring lanes' registers: 4 e neighbours of a row of A, or of a column of B.
template <Element E>
static inline void unpack(const u32 *r, float *out) {
  if constexpr (E == E_F16) {
    __m128i h;
    memcpy(&h, r, 16);
    _mm256_storeu_ps(out, _mm256_cvtph_ps(h));
  } else if constexpr (E == E_BF16) {
    __m128i h;
    memcpy(&h, r, 16);
    _mm256_storeu_si256((__m256i *)out, _mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  } else if constexpr (E == E_TF32) {
    for (int k = 0; k < 4; k++)
      out[k] = as_float(r[k] & ~0x1fffu);  // the lower bits are not looked at
  } else {
    for (int k = 0; k < 16; k++) {
      u32 x = r[k / 4] >> k % 4 * 8 & 255;
      out[k] = E == E_E4M3 ? e4m3_value(x) : E == E_E5M2 ? e5m2_value(x) : E == E_S8 ? (float)(s8)x : (float)x;
    }
  }
}
struct Tile {  // 16 x 8 x K
  alignas(64) float A[16][32], B[32][8], D[16][8];
};
template <Element EA, Element EB>
static inline void fill(Warp &w, const Ins &i, Tile &t) {
  constexpr int n = 4 * (EA <= E_BF16 ? 2 : EA == E_TF32 ? 1 : 4);
  const u32 *a = i.x + i.nd, *b = a + i.na;
  for (int r = 0; r < i.na; r++)
    for (int g = 0; g < 8; g++)
      unpack<EA>(reg<u32>(w, a[r]) + 4 * g, &t.A[g + 8 * (r & 1)][n * (r / 2)]);
  for (int r = 0; r < i.nb; r++)
    for (int g = 0; g < 8; g++) {
      float column[16];
      unpack<EB>(reg<u32>(w, b[r]) + 4 * g, column);
      for (int k = 0; k < n; k++)
        t.B[n * r + k][g] = column[k];
    }
}

// D = A B + C. aux: K | A's elements << 8 | B's << 12 | kind of C and D << 16 (0 f32, 1 f16, 2 s32). x: d, a, b, c.
// Sums of products in float, C added last.
template <Element EA, Element EB>
static void op_mma(Warp &w, const Ins &i) {
  if (!gate(w, i, ~0u))
    return;
  u32 K = i.aux & 255, kind = i.aux >> 16;
  const u32 *xc = i.x + i.nd + i.na + i.nb;
  Tile t;
  fill<EA, EB>(w, i, t);
  if (kind == 2) {  // exact: int32 sums
    for (int m = 0; m < 16; m++)
      for (int c = 0; c < 8; c++) {
        s64 s = reg<s32>(w, xc[m / 8 * 2 + c % 2])[m % 8 * 4 + c / 2];
        for (u32 k = 0; k < K; k++)
          s += (s32)t.A[m][k] * (s32)t.B[k][c];
        if (i.flags & SIGNED)  // .satfinite
          s = std::min<s64>(std::max<s64>(s, INT32_MIN), INT32_MAX);
        t.D[m][c] = as_float((u32)s);
      }
  } else {
    for (int half = 0; half < 16; half += 8) {
      __m256 s[8] = {};
      for (u32 k = 0; k < K; k++) {
        __m256 b = _mm256_load_ps(t.B[k]);
        for (int m = 0; m < 8; m++)
          s[m] = _mm256_fmadd_ps(_mm256_broadcast_ss(&t.A[half + m][k]), b, s[m]);
      }
      for (int m = 0; m < 8; m++)
        _mm256_store_ps(t.D[half + m], s[m]);
    }
  }
  if (kind == 1) {
    for (int r = 0; r < 2; r++) {
      u32 *c = reg<u32>(w, xc[r]), *d = reg<u32>(w, i.x[r]);
      for (int l = 0; l < 32; l++) {
        float *s = &t.D[l / 4 + r * 8][l % 4 * 2];
        d[l] = f16_round(f16_value(c[l] & 0xffff) + s[0]) | f16_round(f16_value(c[l] >> 16) + s[1]) << 16;
      }
    }
  } else {
    for (int r = 0; r < 4; r++) {
      float *c = reg<float>(w, xc[r]), *d = reg<float>(w, i.x[r]);
      for (int l = 0; l < 32; l++) {
        float s = t.D[l / 4 + r / 2 * 8][l % 4 * 2 + r % 2];
        d[l] = kind == 2 ? s : c[l] + s;
      }
    }
  }
  w.wk->n.mma++;
  w.wk->n.mma_flops += 2ull * 16 * 8 * K;
}

static void op_mma_f64(Warp &w, const Ins &i) {  // m8n8k4
  if (!gate(w, i, ~0u))
    return;
  const u32 *xa = i.x + i.nd, *xb = xa + i.na, *xc = xb + i.nb;
  double D[2][32], *a = reg<double>(w, xa[0]), *b = reg<double>(w, xb[0]);
  for (int r = 0; r < 2; r++)
    for (int l = 0; l < 32; l++) {
      double s = reg<double>(w, xc[r])[l];
      for (int k = 0; k < 4; k++)
        s = std::fma(a[l / 4 * 4 + k], b[(l % 4 * 2 + r) * 4 + k], s);
      D[r][l] = s;
    }
  for (int r = 0; r < 2; r++)
    memcpy(reg<double>(w, i.x[r]), D[r], sizeof D[r]);
  w.wk->n.mma++;
  w.wk->n.mma_flops += 2 * 8 * 8 * 4;
}

static Fn mma_fn(Element a, Element b) {
  switch (a * 8 + b) {
    case E_F16 * 9:
      return op_mma<E_F16, E_F16>;
    case E_BF16 * 9:
      return op_mma<E_BF16, E_BF16>;
    case E_TF32 * 9:
      return op_mma<E_TF32, E_TF32>;
    case E_E4M3 * 9:
      return op_mma<E_E4M3, E_E4M3>;
    case E_E5M2 * 9:
      return op_mma<E_E5M2, E_E5M2>;
    case E_E4M3 * 8 + E_E5M2:
      return op_mma<E_E4M3, E_E5M2>;
    case E_E5M2 * 8 + E_E4M3:
      return op_mma<E_E5M2, E_E4M3>;
    case E_S8 * 9:
      return op_mma<E_S8, E_S8>;
    case E_U8 * 9:
      return op_mma<E_U8, E_U8>;
    case E_S8 * 8 + E_U8:
      return op_mma<E_S8, E_U8>;
    case E_U8 * 8 + E_S8:
      return op_mma<E_U8, E_S8>;
    default:
      return nullptr;
  }
}

bool decode_matrix(Decoder &d, const Statement &s, Ins &i) {
  std::string_view n = s.op[0];
  auto &o = s.args;
  if (n == "ldmatrix") {
    auto r = d.operands(o[0], 4);
    i.nd = r.size();
    if (i.nd == 1)
      i.d = r[0];
    else
      d.list(i, r);
    d.address(o[1], i);
    i.aux = s.has("trans");
    i.fn = s.has("m8n8") ? op_ldmatrix : nullptr;
  } else if (n == "stmatrix") {
    d.address(o[0], i);
    auto r = d.operands(o[1], 4);
    i.nb = r.size();
    if (i.nb == 1)
      i.b = r[0];
    else
      d.list(i, r);
    i.aux = s.has("trans");
    i.fn = s.has("m8n8") ? op_stmatrix : nullptr;
  } else if (n == "movmatrix") {
    i.d = d.operand(o[0], 4);
    i.a = d.operand(o[1], 4);
    i.fn = op_movmatrix;
  } else if (n == "mma") {
    std::vector<std::string_view> types;
    for (auto p : s.op)
      for (auto t : {"f16", "bf16", "tf32", "f32", "f64", "s32", "s8", "u8", "e4m3", "e5m2"})
        if (p == t)
          types.push_back(p);
    bool f64 = s.has("f64");
    auto all = d.operands(o[0], f64 ? 8 : 4);
    i.nd = all.size();
    u8 *counts[] = {&i.na, &i.nb, &i.nc};
    for (int k = 0; k < 3; k++) {
      auto more = d.operands(o[k + 1], f64 ? 8 : 4);
      *counts[k] = more.size();
      all.insert(all.end(), more.begin(), more.end());
    }
    d.list(i, all);
    if (f64) {
      i.fn = s.has("m8n8k4") ? op_mma_f64 : nullptr;
      return true;
    }
    static const std::map<std::string_view, Element> elements = {{"f16", E_F16},   {"bf16", E_BF16}, {"tf32", E_TF32},
                                                                 {"e4m3", E_E4M3}, {"e5m2", E_E5M2}, {"s8", E_S8},
                                                                 {"u8", E_U8}};
    u32 K = 0;
    for (auto p : s.op)
      if (p.substr(0, 6) == "m16n8k")
        K = atoi(std::string(p.substr(6)).c_str());
    if (types.size() != 4 || !K || o.size() > 4)
      return false;
    auto a = elements.find(types[1]), b = elements.find(types[2]);
    u32 kind = types[3] == "f32" ? 0 : types[3] == "f16" ? 1 : 2;
    if (a == elements.end() || b == elements.end() || types[0] != types[3] || K > 32)
      return false;
    u32 e = per_register(a->second);
    if (i.na != K / (4 * e) * 2 || i.nb != K / (4 * e) || i.nd != (kind == 1 ? 2 : 4))
      return false;
    i.aux = K | a->second << 8 | b->second << 12 | kind << 16;
    i.flags |= s.has("satfinite") ? SIGNED : 0;
    i.fn = mma_fn(a->second, b->second);
  } else {
    return false;
  }
  return true;
}

}  // namespace sim
