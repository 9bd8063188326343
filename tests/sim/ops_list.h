// Instructions and what they compute: X(name, result, a, b, c, PTX, tolerance, value). Rule: included by the kernels
// and by the test, so that each line is one kernel and one expectation. Tolerance: relative; 0 = every bit.
X(add_s32, u32, u32, u32, u32, "add.s32 %0, %1, %2;", 0, a + b)
X(sub_u64, u64, u64, u64, u64, "sub.u64 %0, %1, %2;", 0, a - b)
X(add_s16, u16, u16, u16, u16, "add.s16 %0, %1, %2;", 0, (u16)(a + b))
X(mul_lo, u32, u32, u32, u32, "mul.lo.s32 %0, %1, %2;", 0, a *b)
X(mul_hi_u, u32, u32, u32, u32, "mul.hi.u32 %0, %1, %2;", 0, (u32)((u64)a *b >> 32))
X(mul_hi_s, u32, u32, u32, u32, "mul.hi.s32 %0, %1, %2;", 0, (u32)((int64_t)(int32_t)a *(int32_t)b >> 32))
X(mul_hi_64, u64, u64, u64, u64, "mul.hi.u64 %0, %1, %2;", 0, (u64)((unsigned __int128)a *b >> 64))
X(mul_wide_s, u64, u32, u32, u32, "mul.wide.s32 %0, %1, %2;", 0, (u64)((int64_t)(int32_t)a *(int32_t)b))
X(mul_wide_u16, u32, u16, u16, u16, "mul.wide.u16 %0, %1, %2;", 0, (u32)a *b)
X(mad_lo, u32, u32, u32, u32, "mad.lo.s32 %0, %1, %2, %3;", 0, a *b + c)
X(mad_hi, u32, u32, u32, u32, "mad.hi.u32 %0, %1, %2, %3;", 0, (u32)((u64)a *b >> 32) + c)
X(mad_wide, u64, u32, u32, u64, "mad.wide.u32 %0, %1, %2, %3;", 0, (u64)a *b + c)
X(add_carry, u32, u32, u32, u32, "{.reg .u32 t; add.cc.u32 t, %1, %2; addc.u32 %0, %3, 0;}", 0,
  c + (((u64)a + b) >> 32))
X(sub_borrow, u32, u32, u32, u32, "{.reg .u32 t; sub.cc.u32 t, %1, %2; subc.u32 %0, %3, 0;}", 0, c - (a < b))
X(mad_carry, u32, u32, u32, u32, "{.reg .u32 t; mad.lo.cc.u32 t, %1, %2, %3; madc.hi.u32 %0, %1, %2, 0;}", 0,
  (u32)(((u64)a * b + c) >> 32))
X(div_s, u32, u32, u32, u32, "{.reg .u32 t; or.b32 t, %2, 1; div.s32 %0, %1, t;}", 0,
  (u32)((int64_t)(int32_t)a / (int32_t)(b | 1)))
X(rem_u, u32, u32, u32, u32, "{.reg .u32 t; or.b32 t, %2, 1; rem.u32 %0, %1, t;}", 0, a % (b | 1))
X(min_s, u32, u32, u32, u32, "min.s32 %0, %1, %2;", 0, (u32)std::min((int32_t)a, (int32_t)b))
X(max_u64, u64, u64, u64, u64, "max.u64 %0, %1, %2;", 0, std::max(a, b))
X(abs_s, u32, u32, u32, u32, "abs.s32 %0, %1;", 0, (int32_t)a < 0 ? -a : a)
X(neg_s, u32, u32, u32, u32, "neg.s32 %0, %1;", 0, -a)
X(sad_u, u32, u32, u32, u32, "sad.u32 %0, %1, %2, %3;", 0, c + (a > b ? a - b : b - a))
X(popc64, u32, u64, u64, u64, "popc.b64 %0, %1;", 0, (u32)__builtin_popcountll(a))
X(clz32, u32, u32, u32, u32, "clz.b32 %0, %1;", 0, (u32)(a ? __builtin_clz(a) : 32))
X(clz64, u32, u64, u64, u64, "clz.b64 %0, %1;", 0, (u32)(a ? __builtin_clzll(a) : 64))
X(bfind_u, u32, u32, u32, u32, "bfind.u32 %0, %1;", 0, a ? 31u - __builtin_clz(a) : ~0u)
X(brev32, u32, u32, u32, u32, "brev.b32 %0, %1;", 0, reverse(a))
X(bfe_u, u32, u32, u32, u32, "bfe.u32 %0, %1, 5, 9;", 0, a >> 5 & 511)
X(bfe_s, u32, u32, u32, u32, "bfe.s32 %0, %1, 20, 12;", 0, (u32)((int32_t)a >> 20))
X(bfi32, u32, u32, u32, u32, "bfi.b32 %0, %1, %2, 8, 7;", 0, (b & ~(127u << 8)) | (a & 127) << 8)
X(shl32, u32, u32, u32, u32, "{.reg .u32 t; and.b32 t, %2, 63; shl.b32 %0, %1, t;}", 0,
  (b & 63) > 31 ? 0 : a << (b & 63))
X(shr_s64, u64, u64, u32, u32, "{.reg .u32 t; and.b32 t, %2, 127; shr.s64 %0, %1, t;}", 0,
  (u64)((int64_t)a >> std::min(b & 127, 63u)))
X(shr_u16, u16, u16, u32, u32, "shr.u16 %0, %1, 3;", 0, (u16)(a >> 3))
X(shf_l, u32, u32, u32, u32, "shf.l.wrap.b32 %0, %1, %2, %3;", 0, (u32)((((u64)b << 32 | a) << (c & 31)) >> 32))
X(shf_r, u32, u32, u32, u32, "shf.r.clamp.b32 %0, %1, %2, %3;", 0, (u32)(((u64)b << 32 | a) >> std::min(c, 32u)))
X(lop3, u32, u32, u32, u32, "lop3.b32 %0, %1, %2, %3, 0xE4;", 0, (a & c) | (b & ~c))
X(prmt, u32, u32, u32, u32, "prmt.b32 %0, %1, %2, 0x7531;", 0,
  (a >> 8 & 255) | (a >> 24) << 8 | (b >> 8 & 255) << 16 | (b >> 24) << 24)
X(prmt_sign, u32, u32, u32, u32, "prmt.b32 %0, %1, %2, 0xB3A1;", 0,
  (a >> 8 & 255) | (a >> 23 & 1 ? 0xff00u : 0) | (a >> 24) << 16 | (a >> 31 ? 0xff000000u : 0))
X(dp4a, u32, u32, u32, u32, "dp4a.s32.s32 %0, %1, %2, %3;", 0, dot4(a, b, c))
X(selp, u32, u32, u32, u32, "{.reg .pred p; setp.lt.s32 p, %1, %2; selp.b32 %0, %1, %3, p;}", 0,
  (int32_t)a < (int32_t)b ? a : c)
X(setp_and, u32, u32, u32, u32,
  "{.reg .pred p, q; setp.gt.u32 q, %1, %3; setp.lt.and.u32 p, %1, %2, q; selp.b32 %0, 1, 0, p;}", 0,
  (u32)(a<b && a> c))
X(setp_pair, u32, u32, u32, u32,
  "{.reg .pred p, q; setp.eq.u32 p|q, %1, %2; not.pred p, p; and.pred p, p, q; selp.b32 %0, 7, 9, p;}", 0,
  a != b ? 7u : 9u)
X(slct, u32, u32, u32, u32, "slct.b32.s32 %0, %1, %2, %3;", 0, (int32_t)c >= 0 ? a : b)
X(guarded, u32, u32, u32, u32,
  "{.reg .pred p; setp.ne.u32 p, %1, %2; mov.u32 %0, %3; @p add.u32 %0, %0, %1; @!p mov.u32 %0, 5;}", 0,
  a != b ? c + a : 5)
X(unpack, u32, u64, u64, u64, "{.reg .u32 l, h; mov.b64 {l, h}, %1; xor.b32 %0, l, h;}", 0, (u32)a ^ (u32)(a >> 32))
X(pack16, u32, u16, u16, u16, "mov.b32 %0, {%1, %2};", 0, a | (u32)b << 16)

X(fadd, float, float, float, float, "add.f32 %0, %1, %2;", 0, a + b)
X(fsub_sat, float, float, float, float, "sub.sat.f32 %0, %1, %2;", 0, std::min(std::max(a - b, 0.f), 1.f))
X(fmul_ftz, float, float, float, float, "{.reg .f32 t; mul.f32 t, %1, 0f00000002; mul.ftz.f32 %0, t, 0f7e000000;}", 0,
  0.f * a)
X(fma, float, float, float, float, "fma.rn.f32 %0, %1, %2, %3;", 0, std::fmaf(a, b, c))
X(fma_rz, float, float, float, float, "fma.rz.f32 %0, %1, %2, %3;", 2e-7, std::fmaf(a, b, c))
X(add_rp, u32, float, float, float,
  "{.reg .f32 u, v; .reg .pred p; add.rp.f32 u, %1, 0f00800000; setp.gt.f32 p, u, %1; selp.b32 %0, 1, 0, p;}", 0, 1u)
X(add_rm, u32, float, float, float,
  "{.reg .f32 u, v; .reg .pred p; add.rm.f32 u, %1, 0f80800000; setp.lt.f32 p, u, %1; selp.b32 %0, 1, 0, p;}", 0, 1u)
X(dfma, double, double, double, double, "fma.rn.f64 %0, %1, %2, %3;", 0, std::fma(a, b, c))
X(ddiv, double, double, double, double, "div.rn.f64 %0, %1, %2;", 0, a / b)
X(dsqrt, double, double, double, double, "{.reg .f64 t; abs.f64 t, %1; sqrt.rn.f64 %0, t;}", 0, std::sqrt(std::fabs(a)))
X(fdiv, float, float, float, float, "div.rn.f32 %0, %1, %2;", 0, a / b)
X(fdiv_approx, float, float, float, float, "div.approx.f32 %0, %1, %2;", 2.5e-7, a / b)
X(fmin, float, float, float, float, "min.f32 %0, %1, %2;", 0, std::fmin(a, b))
X(fmax_nan, u32, float, float, float,
  "{.reg .f32 t; mov.f32 t, 0f7fffffff; max.f32 t, t, %1; .reg .pred p; setp.eq.f32 p, t, %1; selp.b32 %0, 1, 0, p;}",
  0, 1u)
X(max_NaN, u32, float, float, float,
  "{.reg .f32 t; mov.f32 t, 0f7fffffff; max.NaN.f32 t, t, %1; .reg .pred p; setp.nan.f32 p, t, t; selp.b32 %0, 1, 0, "
  "p;}",
  0, 1u)
X(fneg_abs, float, float, float, float, "{.reg .f32 t; abs.f32 t, %1; neg.f32 %0, t;}", 0, -std::fabs(a))
X(copysign, float, float, float, float, "copysign.f32 %0, %1, %2;", 0, std::copysign(b, a))
X(setp_ltu, u32, float, float, float,
  "{.reg .pred p; .reg .f32 t; mov.f32 t, 0f7fffffff; setp.ltu.f32 p, %1, t; selp.b32 %0, 1, 0, p;}", 0, 1u)
X(testp, u32, float, float, float, "{.reg .pred p; testp.finite.f32 p, %1; selp.b32 %0, 1, 0, p;}", 0, 1u)
X(ex2, float, float, float, float, "ex2.approx.f32 %0, %1;", 2.5e-7, std::exp2(a))
X(lg2, float, float, float, float, "{.reg .f32 t; abs.f32 t, %1; lg2.approx.f32 %0, t;}", 1e-5, std::log2(std::fabs(a)))
X(rcp, float, float, float, float, "rcp.approx.f32 %0, %1;", 1.3e-7, 1 / a)
X(rsqrt, float, float, float, float, "{.reg .f32 t; abs.f32 t, %1; rsqrt.approx.f32 %0, t;}", 3e-7,
  1 / std::sqrt(std::fabs(a)))
X(sqrt_approx, float, float, float, float, "{.reg .f32 t; abs.f32 t, %1; sqrt.approx.f32 %0, t;}", 2e-7,
  std::sqrt(std::fabs(a)))
X(tanh_approx, float, float, float, float, "tanh.approx.f32 %0, %1;", 5e-4, std::tanh(a))
X(sin_approx, float, float, float, float, "sin.approx.f32 %0, %1;", 1e-3, std::sin(a))

X(cvt_f32_s32, float, u32, u32, u32, "cvt.rn.f32.s32 %0, %1;", 0, (float)(int32_t)a)
X(cvt_f32_u64, float, u64, u64, u64, "cvt.rn.f32.u64 %0, %1;", 0, (float)a)
X(cvt_s32_rzi, u32, float, float, float, "{.reg .f32 t; mul.f32 t, %1, 0f42c80000; cvt.rzi.s32.f32 %0, t;}", 0,
  (u32)(int32_t)(a * 100))
X(cvt_s32_rni, u32, float, float, float, "{.reg .f32 t; mul.f32 t, %1, 0f42c80000; cvt.rni.s32.f32 %0, t;}", 0,
  (u32)(int32_t)std::nearbyint(a * 100))
X(cvt_floor, float, float, float, float, "cvt.rmi.f32.f32 %0, %1;", 0, std::floor(a))
X(cvt_sat_u8, u32, u32, u32, u32, "cvt.sat.u8.s32 %0, %1;", 0, (u32)std::min(std::max((int32_t)a, 0), 255))
X(cvt_s8, u32, u32, u32, u32, "cvt.s32.s8 %0, %1;", 0, (u32)(int32_t)(int8_t)a)
X(cvt_u64_s32, u64, u32, u32, u32, "cvt.s64.s32 %0, %1;", 0, (u64)(int64_t)(int32_t)a)
X(cvt_u32_u64, u32, u64, u64, u64, "cvt.u32.u64 %0, %1;", 0, (u32)a)
X(cvt_f64_s32, double, u32, u32, u32, "cvt.rn.f64.s32 %0, %1;", 0, (double)(int32_t)a)
X(cvt_f64, double, float, float, float, "cvt.f64.f32 %0, %1;", 0, (double)a)
X(cvt_f32_f64, float, double, double, double, "cvt.rn.f32.f64 %0, %1;", 0, (float)a)
X(cvt_saturate, float, float, float, float, "cvt.sat.f32.f32 %0, %1;", 0, std::min(std::max(a, 0.f), 1.f))
X(cvt_f16, u16, float, float, float, "cvt.rn.f16.f32 %0, %1;", 0, (u16)f16(a))
X(cvt_from_f16, float, u16, u16, u16, "{.reg .b16 t; and.b16 t, %1, 0xbfff; cvt.f32.f16 %0, t;}", 0,
  from_f16(a & 0xbfff))
X(cvt_bf16, u16, float, float, float, "cvt.rn.bf16.f32 %0, %1;", 0, (u16)bf16(a))
X(cvt_bf16x2, u32, float, float, float, "cvt.rn.bf16x2.f32 %0, %1, %2;", 0, bf16(a) << 16 | bf16(b))
X(cvt_f16x2_relu, u32, float, float, float, "cvt.rn.relu.f16x2.f32 %0, %1, %2;", 0,
  f16(std::max(a, 0.f)) << 16 | f16(std::max(b, 0.f)))
X(cvt_tf32, u32, float, float, float, "cvt.rna.tf32.f32 %0, %1;", 0, (bits(a) + 0x1000) & ~0x1fffu)
X(cvt_e4m3x2, u16, float, float, float, "cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;", 0, (u16)(e4m3(a) << 8 | e4m3(b)))
X(cvt_e5m2x2, u16, float, float, float, "cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;", 0, (u16)(e5m2(a) << 8 | e5m2(b)))
X(e4m3_round_trip, u32, float, float, float,
  "{.reg .b16 t; cvt.rn.satfinite.e4m3x2.f32 t, %1, %2; cvt.rn.f16x2.e4m3x2 %0, t;}", 0,
  f16(near8(a, 4, -6, 448)) << 16 | f16(near8(b, 4, -6, 448)))
X(e5m2_round_trip, u32, float, float, float,
  "{.reg .b16 t; cvt.rn.satfinite.e5m2x2.f32 t, %1, %2; cvt.rn.f16x2.e5m2x2 %0, t;}", 0,
  f16(near8(a, 3, -14, 57344)) << 16 | f16(near8(b, 3, -14, 57344)))

X(hadd2, u32, float, float, float,
  "{.reg .b32 x, y; cvt.rn.f16x2.f32 x, %1, %2; cvt.rn.f16x2.f32 y, %2, %3; add.f16x2 %0, x, y;}", 0,
  f16(from_f16(f16(a)) + from_f16(f16(b))) << 16 | f16(from_f16(f16(b)) + from_f16(f16(c))))
X(hfma2, u32, float, float, float,
  "{.reg .b32 x, y; cvt.rn.bf16x2.f32 x, %1, %2; cvt.rn.bf16x2.f32 y, %2, %3; fma.rn.bf16x2 %0, x, y, x;}", 0,
  bf16(from_bf16(bf16(a)) * from_bf16(bf16(b)) + from_bf16(bf16(a))) << 16 |
      bf16(from_bf16(bf16(b)) * from_bf16(bf16(c)) + from_bf16(bf16(b))))
X(hmax2, u32, float, float, float,
  "{.reg .b32 x, y; cvt.rn.bf16x2.f32 x, %1, %2; cvt.rn.bf16x2.f32 y, %2, %3; max.bf16x2 %0, x, y;}", 0,
  bf16(std::max(a, b)) << 16 | bf16(std::max(b, c)))
X(hneg, u32, u32, u32, u32, "neg.f16x2 %0, %1;", 0, a ^ 0x80008000)
X(hset2, u32, float, float, float,
  "{.reg .b32 x, y; cvt.rn.f16x2.f32 x, %1, %1; cvt.rn.f16x2.f32 y, %2, %2; set.gt.f16x2.f16x2 %0, x, y;}", 0,
  from_f16(f16(a)) > from_f16(f16(b)) ? 0x3c003c00 : 0u)
