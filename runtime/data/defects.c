// Drawing of steel surfaces and their defects. Rule: every number comes from Philox or a hash keyed by (seed, class,
// index); lengths are in pixels of a 128 x 128 picture and multiplied by `unit`.
#include "runtime/data/defects.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/rng.h"

#define PI 3.14159265f

typedef struct canvas {
  int n;
  float unit;   // pixels of this picture a pixel at 128
  float *v;     // [n][n] brightness, about 0..1
  float *mask;  // [n][n] coverage 0..1 of what is being drawn
  ig_rng rng;
  uint64_t noise_key;
  float rolling;  // direction of the grain, radians
  float light;    // direction the light comes from
} canvas;

static float between(canvas *c, float low, float high) { return low + (high - low) * ig_rng_uniform(&c->rng); }
static bool chance(canvas *c, float p) { return ig_rng_uniform(&c->rng) < p; }
static int count(canvas *c, int low, int high) { return low + (int)ig_rng_below(&c->rng, (uint32_t)(high - low + 1)); }
static float clamp01(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
static float ramp(float from, float to, float x) {
  float t = clamp01((x - from) / (to - from));
  return t * t * (3 - 2 * t);
}

// Value noise in [-1, 1] on a lattice of unit spacing.
static float lattice(uint64_t key, int x, int y) {
  uint64_t h = ig_hash_mix(key, (uint64_t)(uint32_t)x << 32 | (uint32_t)y);
  return (float)(h >> 40) * (2.0f / 16777216.0f) - 1;
}
static float noise(uint64_t key, float x, float y) {
  float fx = floorf(x), fy = floorf(y), tx = x - fx, ty = y - fy;
  int ix = (int)fx, iy = (int)fy;
  tx = tx * tx * (3 - 2 * tx);
  ty = ty * ty * (3 - 2 * ty);
  float a = lattice(key, ix, iy), b = lattice(key, ix + 1, iy);
  float d = lattice(key, ix, iy + 1), e = lattice(key, ix + 1, iy + 1);
  return (a + (b - a) * tx) * (1 - ty) + (d + (e - d) * tx) * ty;
}
static float noise2(uint64_t key, float x, float y) {
  return (noise(key, x, y) + 0.5f * noise(key + 1, 2.03f * x, 2.03f * y)) * (1 / 1.5f);
}
static uint64_t new_key(canvas *c) { return c->noise_key = ig_hash_mix(c->noise_key, 77); }

static void mask_clear(canvas *c) { memset(c->mask, 0, (size_t)c->n * (size_t)c->n * sizeof *c->mask); }

// v += amount * mask * (1 + rough * fine noise).
static void mask_apply(canvas *c, float amount, float rough) {
  uint64_t key = new_key(c);
  float scale = 1 / (1.6f * c->unit);
  for (int y = 0; y < c->n; y++)
    for (int x = 0; x < c->n; x++) {
      size_t i = (size_t)y * (size_t)c->n + (size_t)x;
      if (c->mask[i] > 0)
        c->v[i] += amount * c->mask[i] * (1 + rough * noise2(key, (float)x * scale, (float)y * scale));
    }
}

// Coverage of a segment of half widths r0 and r1 (pixels) with soft edges; overlaps take the larger coverage.
static void mask_segment(canvas *c, float x0, float y0, float x1, float y1, float r0, float r1, float cover) {
  float pad = fmaxf(r0, r1) + 1, dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy + 1e-6f;
  int left = (int)fmaxf(0, floorf(fminf(x0, x1) - pad)), right = (int)fminf((float)c->n - 1, fmaxf(x0, x1) + pad);
  int top = (int)fmaxf(0, floorf(fminf(y0, y1) - pad)), bottom = (int)fminf((float)c->n - 1, fmaxf(y0, y1) + pad);
  for (int y = top; y <= bottom; y++)
    for (int x = left; x <= right; x++) {
      float px = (float)x - x0, py = (float)y - y0, t = clamp01((px * dx + py * dy) / length2);
      float d = hypotf(px - t * dx, py - t * dy), r = r0 + (r1 - r0) * t;
      // A line thinner than a pixel is paler instead.
      float a = cover * clamp01(r + 0.5f - d) * fminf(1, 2 * r);
      float *m = &c->mask[(size_t)y * (size_t)c->n + (size_t)x];
      if (a > *m)
        *m = a;
    }
}

static void draw_surface(canvas *c) {
  float steep = chance(c, 0.7f) ? (chance(c, 0.5f) ? 0 : PI / 2) + between(c, -0.08f, 0.08f) : between(c, 0, PI);
  c->rolling = steep;
  c->light = between(c, 0, 2 * PI);
  float level = between(c, 0.36f, 0.66f), grain = between(c, 0.02f, 0.085f), mottle = between(c, 0.01f, 0.05f);
  float tilt = between(c, 0, 0.16f), spot = between(c, -0.1f, 0.1f), cos_r = cosf(steep), sin_r = sinf(steep);
  float cos_l = cosf(c->light), sin_l = sinf(c->light), spot_x = between(c, 0, 1), spot_y = between(c, 0, 1);
  float along = 1 / (between(c, 18, 60) * c->unit), across = 1 / (between(c, 1.1f, 2.4f) * c->unit);
  uint64_t key = new_key(c);
  for (int y = 0; y < c->n; y++)
    for (int x = 0; x < c->n; x++) {
      float fx = (float)x, fy = (float)y, u = fx * cos_r + fy * sin_r, w = fy * cos_r - fx * sin_r;
      float rx = fx / (float)c->n - 0.5f, ry = fy / (float)c->n - 0.5f;
      float sx = rx + 0.5f - spot_x, sy = ry + 0.5f - spot_y;
      c->v[(size_t)y * (size_t)c->n + (size_t)x] = level + grain * noise2(key, u * along, w * across) +
                                                   0.6f * grain * noise(key + 9, u * along * 0.4f, w * across * 0.2f) +
                                                   mottle * noise2(key + 5, fx / (26 * c->unit), fy / (26 * c->unit)) +
                                                   tilt * 2 * (rx * cos_l + ry * sin_l) +
                                                   spot * expf(-4 * (sx * sx + sy * sy));
    }
}

// What a good surface has too: stains, dust, a few faint roll marks. Drawn on every class.
static void draw_distractors(canvas *c) {
  for (int i = count(c, 0, 2); i > 0; i--) {  // faint, wide, soft
    float x = between(c, 0, 1) * (float)c->n, y = between(c, 0, 1) * (float)c->n, r = between(c, 14, 40) * c->unit;
    float amount = between(c, -0.06f, 0.06f);
    for (int py = 0; py < c->n; py++)
      for (int px = 0; px < c->n; px++) {
        float dx = ((float)px - x) / r, dy = ((float)py - y) / r;
        c->v[(size_t)py * (size_t)c->n + (size_t)px] += amount * expf(-(dx * dx + dy * dy) * 1.5f);
      }
  }
  mask_clear(c);
  for (int i = count(c, 0, 9); i > 0; i--) {  // dust: below the size of a pit
    float x = between(c, 0, 1) * (float)c->n, y = between(c, 0, 1) * (float)c->n;
    mask_segment(c, x, y, x + c->unit, y, 0.5f * c->unit, 0.4f * c->unit, between(c, 0.3f, 1));
  }
  mask_apply(c, chance(c, 0.5f) ? 0.16f : -0.16f, 0);
  mask_clear(c);
  for (int i = count(c, 0, 3); i > 0; i--) {  // roll marks: full length, along the grain, faint
    float at = between(c, -0.6f, 0.6f) * (float)c->n, half = (float)c->n * 0.5f, far = (float)c->n * 1.5f;
    float ux = cosf(c->rolling), uy = sinf(c->rolling), x = half - at * uy, y = half + at * ux;
    float r = between(c, 0.5f, 3) * c->unit;
    mask_segment(c, x - far * ux, y - far * uy, x + far * ux, y + far * uy, r, r, 1);
  }
  mask_apply(c, between(c, -0.05f, 0.05f), 0.3f);
}

// Long, thin, straight or slightly bowed, mostly bright, in any direction; a thin shadow beside each.
static void draw_scratches(canvas *c) {
  float direction = between(c, 0, PI), polarity = chance(c, 0.75f) ? 1 : -1;
  for (int i = count(c, 2, 6); i > 0; i--) {
    float a = direction + between(c, -0.2f, 0.2f), length = between(c, 45, 125) * c->unit;
    float bow = between(c, -0.25f, 0.25f) / 12, width = between(c, 0.45f, 1.05f) * c->unit;
    float x = between(c, 0.15f, 0.85f) * (float)c->n - 0.5f * length * cosf(a);
    float y = between(c, 0.15f, 0.85f) * (float)c->n - 0.5f * length * sinf(a), start_x = x, start_y = y, start_a = a;
    for (int pass = 0; pass < 2; pass++) {
      float shift = pass ? 1.6f * c->unit : 0, step = length / 12;
      x = start_x - shift * sinf(start_a), y = start_y + shift * cosf(start_a), a = start_a;
      mask_clear(c);
      for (int s = 0; s < 12; s++) {
        float nx = x + step * cosf(a), ny = y + step * sinf(a);
        float r0 = width * sinf(PI * (0.06f + 0.88f * (float)s / 12)),
              r1 = width * sinf(PI * (0.06f + 0.88f * (float)(s + 1) / 12));
        mask_segment(c, x, y, nx, ny, r0, r1, 1);
        x = nx, y = ny, a += bow;
      }
      float depth = pass ? -0.09f : between(c, 0.2f, 0.38f);
      mask_apply(c, depth * polarity, 0.35f);
    }
  }
}

// Many small round dents, dark, with a bright rim on the side away from the light.
static void draw_pits(canvas *c) {
  int n = count(c, 14, 48);
  bool clustered = chance(c, 0.5f);
  float cx = between(c, 0.3f, 0.7f) * (float)c->n, cy = between(c, 0.3f, 0.7f) * (float)c->n;
  float spread = between(c, 0.16f, 0.3f) * (float)c->n, depth = between(c, 0.2f, 0.36f);
  ig_rng start = c->rng;
  for (int pass = 0; pass < 2; pass++) {  // the rims first, then the dents over them
    c->rng = start;
    mask_clear(c);
    for (int i = 0; i < n; i++) {
      float x = clustered ? cx + spread * ig_rng_normal(&c->rng) : between(c, 0, 1) * (float)c->n;
      float y = clustered ? cy + spread * ig_rng_normal(&c->rng) : between(c, 0, 1) * (float)c->n;
      float r = between(c, 1.1f, 3.4f) * c->unit, stretch = between(c, 0, 0.8f) * r, a = between(c, 0, PI);
      float shift = pass ? 0 : 0.9f * c->unit;
      x -= shift * cosf(c->light), y -= shift * sinf(c->light);
      mask_segment(c, x, y, x + stretch * cosf(a), y + stretch * sinf(a), r, r, between(c, 0.65f, 1));
    }
    mask_apply(c, pass ? -depth * 1.45f : depth * 0.6f, 0.15f);
  }
}

// A field that falls from 1 at the centre of an ellipse (half axes rx, ry, turned by a) to 0 at its rim, with a ragged
// rim; thresholded softly into the mask.
static void mask_blob(canvas *c, float x, float y, float rx, float ry, float a, float ragged, float grain, float soft) {
  uint64_t key = new_key(c);
  float ca = cosf(a), sa = sinf(a), f = 1 / (grain * c->unit);
  for (int py = 0; py < c->n; py++)
    for (int px = 0; px < c->n; px++) {
      float dx = (float)px - x, dy = (float)py - y, u = (dx * ca + dy * sa) / rx, w = (dy * ca - dx * sa) / ry;
      float d2 = u * u + w * w;
      if (d2 > 4)
        continue;
      float field = 1 - sqrtf(d2) + ragged * noise2(key, (float)px * f, (float)py * f);
      float m = ramp(0, soft, field), *to = &c->mask[(size_t)py * (size_t)c->n + (size_t)px];
      if (m > *to)
        *to = m;
    }
}

// One to three large irregular areas of another tone with a mottled inside.
static void draw_patches(canvas *c) {
  float amount = between(c, 0.13f, 0.26f) * (chance(c, 0.6f) ? -1 : 1);
  mask_clear(c);
  for (int i = count(c, 1, 3); i > 0; i--) {
    float rx = between(c, 20, 40) * c->unit, x = between(c, 0.15f, 0.85f) * (float)c->n;
    float y = between(c, 0.15f, 0.85f) * (float)c->n;
    mask_blob(c, x, y, rx, rx * between(c, 0.55f, 1), between(c, 0, PI), 0.55f, 15, 0.22f);
  }
  mask_apply(c, amount, 0.45f);
}

// Short thick dark streaks, all along the rolling direction, ragged.
static void draw_inclusions(canvas *c) {
  float amount = between(c, -0.42f, -0.26f);
  mask_clear(c);
  for (int i = count(c, 3, 8); i > 0; i--) {
    float length = between(c, 8, 22) * c->unit, width = between(c, 1.8f, 4.2f) * c->unit;
    float x = between(c, 0.08f, 0.92f) * (float)c->n, y = between(c, 0.08f, 0.92f) * (float)c->n;
    mask_blob(c, x, y, length, width, c->rolling + between(c, -0.1f, 0.1f), 0.6f, 4.5f, 0.4f);
  }
  mask_apply(c, amount, 0.35f);
}

// A dark thin line that wanders and branches. `left` is the length still to go, in pixels.
static void mask_crack(canvas *c, float x, float y, float a, float r, float left, int depth) {
  float step = 3 * c->unit, goal = a;
  while (left > 0 && r > 0.25f * c->unit) {
    a += 0.42f * ig_rng_normal(&c->rng) + 0.25f * (goal - a);
    float nx = x + step * cosf(a), ny = y + step * sinf(a), nr = r * 0.985f;
    mask_segment(c, x, y, nx, ny, r, nr, 1);
    x = nx, y = ny, r = nr, left -= step;
    if (depth < 3 && chance(c, 0.11f))
      mask_crack(c, x, y, a + (chance(c, 0.5f) ? 1 : -1) * between(c, 0.5f, 1.2f), r * 0.8f,
                 left * between(c, 0.3f, 0.6f), depth + 1);
  }
}

static void draw_cracks(canvas *c) {
  float amount = between(c, -0.42f, -0.27f);
  mask_clear(c);
  for (int i = count(c, 1, 3); i > 0; i--) {
    float x = between(c, 0.1f, 0.9f) * (float)c->n, y = between(c, 0.1f, 0.9f) * (float)c->n;
    float to = atan2f(0.5f * (float)c->n - y, 0.5f * (float)c->n - x);
    mask_crack(c, x, y, to + between(c, -0.7f, 0.7f), between(c, 0.6f, 1.05f) * c->unit, between(c, 60, 125) * c->unit,
               0);
  }
  mask_apply(c, amount, 0.3f);
}

// Rolled-in scale: very many small flakes over the whole surface or a broad part of it, with lit edges.
static void draw_scale(canvas *c) {
  uint64_t key = new_key(c);
  float stretch = between(c, 1, 2), grain = between(c, 3.6f, 6), from = between(c, 0.02f, 0.16f);
  float amount = between(c, 0.17f, 0.3f), ca = cosf(c->rolling), sa = sinf(c->rolling), part = between(c, 0, 0.9f);
  float lx = 0.9f * cosf(c->light) * c->unit, ly = 0.9f * sinf(c->light) * c->unit, f = 1 / (grain * c->unit);
  for (int y = 0; y < c->n; y++)
    for (int x = 0; x < c->n; x++) {
      float here[2];
      for (int k = 0; k < 2; k++) {
        float fx = (float)x + (k ? lx : 0), fy = (float)y + (k ? ly : 0);
        float u = (fx * ca + fy * sa) * f / stretch, w = (fy * ca - fx * sa) * f;
        here[k] = ramp(from, from + 0.22f, noise2(key, u, w) + 0.3f * noise(key + 3, 3.3f * u, 3.3f * w));
      }
      float region = ramp(-0.35f, 0.1f, part + noise(key + 31, (float)x / (45 * c->unit), (float)y / (45 * c->unit)));
      c->v[(size_t)y * (size_t)c->n + (size_t)x] +=
          region * (-amount * here[0] + 0.7f * amount * fmaxf(0, here[1] - here[0]));
    }
}

static const struct {
  const char *name;
  void (*draw)(canvas *c);
} classes[IG_DEFECTS_N_CLASSES] = {{"cracks", draw_cracks},   {"inclusions", draw_inclusions},
                                   {"patches", draw_patches}, {"pits", draw_pits},
                                   {"scale", draw_scale},     {"scratches", draw_scratches}};

const char *ig_defects_class_name(int cls) { return cls >= 0 && cls < IG_DEFECTS_N_CLASSES ? classes[cls].name : NULL; }

// The camera: exposure brings every picture to a mean and a contrast of its own, so that neither tells the class;
// then focus (a 3 x 3 blur), noise, 8 bits.
static void expose(canvas *c, uint8_t *rgb) {
  size_t n = (size_t)c->n * (size_t)c->n;
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += c->v[i];
  float mean = (float)(sum / (double)n), level = between(c, 0.32f, 0.68f), gain = between(c, 0.7f, 1.35f);
  float blur = between(c, 0, 0.16f), dirt = between(c, 0.008f, 0.03f);
  for (int y = 0; y < c->n; y++)
    for (int x = 0; x < c->n; x++) {
      float around = 0;
      for (int k = 0; k < 4; k++) {
        int nx = x + (k == 0) - (k == 1), ny = y + (k == 2) - (k == 3);
        nx = nx < 0 ? 0 : nx >= c->n ? c->n - 1 : nx;
        ny = ny < 0 ? 0 : ny >= c->n ? c->n - 1 : ny;
        around += c->v[(size_t)ny * (size_t)c->n + (size_t)nx];
      }
      float v = (1 - 4 * blur) * c->v[(size_t)y * (size_t)c->n + (size_t)x] + blur * around;
      // The sum of four uniforms is near enough to a normal, and exact everywhere.
      float noise4 =
          ig_rng_uniform(&c->rng) + ig_rng_uniform(&c->rng) + ig_rng_uniform(&c->rng) + ig_rng_uniform(&c->rng) - 2;
      v = level + gain * (v - mean) + dirt * 1.7f * noise4;
      uint8_t *to = rgb + 3 * ((size_t)y * (size_t)c->n + (size_t)x);
      to[0] = to[1] = to[2] = (uint8_t)(255 * clamp01(v) + 0.5f);
    }
}

static ig_status check_size(int size) {
  if (size < IG_DEFECTS_MIN_SIZE || size > IG_DEFECTS_MAX_SIZE)
    return ig_fail(IG_ERR_USAGE, "a defect picture of %d pixels a side; expected %d to %d", size, IG_DEFECTS_MIN_SIZE,
                   IG_DEFECTS_MAX_SIZE);
  return IG_OK;
}

ig_status ig_defects_draw(uint64_t seed, int cls, uint64_t index, int size, uint8_t *rgb) {
  if (cls < 0 || cls >= IG_DEFECTS_N_CLASSES)
    return ig_fail(IG_ERR_USAGE, "defect class %d; expected 0 to %d", cls, IG_DEFECTS_N_CLASSES - 1);
  IG_TRY(check_size(size));
  const uint64_t stream = ig_hash_mix(ig_hash_str(classes[cls].name), 1);
  canvas c = {.n = size, .unit = (float)size / 128, .rng = ig_rng_make(seed, stream, index)};
  c.noise_key = ig_hash_mix(c.rng.key, index);
  IG_TRY(ig_alloc_array((size_t)size * (size_t)size, 2 * sizeof *c.v, "a defect picture", &c.v));
  c.mask = c.v + (size_t)size * (size_t)size;
  draw_surface(&c);
  draw_distractors(&c);
  classes[cls].draw(&c);
  expose(&c, rgb);
  ig_free(c.v);
  return IG_OK;
}
