// Nearly equal pictures: an index of perceptual hashes offers candidates, small pictures order them, pixels at 64 x 64
// decide. Rule: a pair is reported only after its pixels were compared, and every step is a function of the pictures.
//
// The index is Norouzi's multi-index hashing: hashes that differ in at most 11 of 64 bits differ in at most 2 of at
// least one of their four 16-bit quarters, so four tables and 137 neighbours of each quarter find them all.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/data/quality_internal.h"

enum {
  QUARTERS = 4,
  KEYS = 1 << 16,
  RADIUS = 2,
  N_MASKS = 1 + 16 + 16 * 15 / 2,
  MAX_FOUND = 2048  // candidates of a picture whose thumbnails are compared: the nearest by hash
};
_Static_assert(IG_QUALITY_HASH_BITS < QUARTERS * (RADIUS + 1), "the index finds them all");

typedef struct search {
  const ig_quality_options *o;
  const quality_marks *marks;
  const uint32_t *use;
  size_t n;
  uint32_t *start[QUARTERS];  // [KEYS + 1] first entry of a key
  uint32_t *entry[QUARTERS];  // [n] positions in use, by key, then in order
  uint64_t *hash[QUARTERS];   // [n] their hashes
  uint16_t mask[N_MASKS];
  quality_pair *best;  // [n][QUALITY_NEAREST]; a == b: none
} search;

static unsigned quarter(uint64_t hash, int k) { return (unsigned)(hash >> (16 * k)) & 0xffff; }

// Set bits of each quarter, in that quarter.
static uint64_t quarter_bits(uint64_t x) {
  x -= x >> 1 & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (x + (x >> 8)) & 0x00ff00ff00ff00ffu;
}

static ig_status build(search *s) {
  int n_masks = 0;
  for (unsigned a = 0; a <= 16; a++)
    for (unsigned b = a; b <= 16; b++) {
      unsigned m = (a < 16 ? 1u << a : 0) | (b < 16 ? 1u << b : 0);
      if (a < 16 && a == b)
        continue;  // (a, 16) is the single bit
      s->mask[n_masks++] = (uint16_t)m;
    }
  for (int k = 0; k < QUARTERS; k++) {
    IG_TRY(ig_alloc_array(KEYS + 1, sizeof(uint32_t), "an index of hashes", &s->start[k]));
    IG_TRY(ig_alloc_array(s->n, sizeof(uint32_t), "an index of hashes", &s->entry[k]));
    IG_TRY(ig_alloc_array(s->n, sizeof(uint64_t), "an index of hashes", &s->hash[k]));
    uint32_t *start = s->start[k];
    for (size_t i = 0; i < s->n; i++)
      start[quarter(s->marks[s->use[i]].hash[0], k) + 1]++;
    for (size_t key = 0; key < KEYS; key++)
      start[key + 1] += start[key];
    for (size_t i = s->n; i-- > 0;) {  // from the back, counting start[key + 1] down: order is kept
      uint64_t hash = s->marks[s->use[i]].hash[0];
      uint32_t to = --start[quarter(hash, k) + 1];
      s->entry[k][to] = (uint32_t)i;
      s->hash[k][to] = hash;
    }
    // Every start[key + 1] is now the key's own first entry.
    memmove(start, start + 1, KEYS * sizeof *start);
    start[KEYS] = (uint32_t)s->n;
  }
  return IG_OK;
}

// Candidates behind position `at` whose hash is near to that of `at` turned.
static ig_status look_up(const search *s, quality_work *w, uint32_t at, int turn) {
  uint64_t hash = s->marks[s->use[at]].hash[turn];
  for (int k = 0; k < QUARTERS; k++) {
    for (int m = 0; m < N_MASKS; m++) {
      unsigned key = quarter(hash, k) ^ s->mask[m];
      for (uint32_t e = s->start[k][key + 1]; e-- > s->start[k][key] && s->entry[k][e] > at;) {
        uint64_t x = hash ^ s->hash[k][e];
        uint64_t counts = quarter_bits(x);
        int bits = (int)(counts * 0x0001000100010001u >> 48);
        bool met = bits > IG_QUALITY_HASH_BITS;
        for (int before = 0; before < k && !met; before++)
          met = quarter(counts, before) <= RADIUS;
        if (met)
          continue;
        IG_TRY(ig_grow(&w->found, &w->found_capacity, w->n_found, w->n_found + 1, sizeof *w->found, "candidates"));
        w->found[w->n_found++] = (quality_candidate){s->entry[k][e], (uint8_t)turn, (uint8_t)bits};
      }
    }
  }
  return IG_OK;
}

static int by_bits(const void *pa, const void *pb) {
  const quality_candidate *a = pa, *b = pb;
  if (a->bits != b->bits)
    return (int)a->bits - (int)b->bits;
  if (a->at != b->at)
    return a->at < b->at ? -1 : 1;
  return (int)a->turn - (int)b->turn;
}

// Where pixel (x, y) of the turned picture comes from: the mirrorings were done last, so they are undone first.
static int source(int turn, int side, int x, int y) {
  x = turn & 1 ? side - 1 - x : x;
  y = turn & 2 ? side - 1 - y : y;
  return turn & 4 ? x * side + y : y * side + x;
}

// Correlation of thumbnails; a is turned already.
static float likeness(const int8_t *a, float a_length, const quality_marks *b) {
  int sum = 0;
  for (int i = 0; i < QUALITY_SIDE * QUALITY_SIDE; i++)
    sum += a[i] * b->thumb[i];
  return (float)sum / (a_length * b->length);
}

// The QUALITY_NEAREST candidates with the most alike thumbnails into best[]; at most one turn of each.
static void choose(const search *s, quality_work *w, uint32_t at, quality_candidate best[QUALITY_NEAREST],
                   int *n_best) {
  enum { N = QUALITY_SIDE * QUALITY_SIDE };
  const quality_marks *a = &s->marks[s->use[at]];
  int8_t turned[IG_QUALITY_TURNS][N];
  float score[QUALITY_NEAREST];
  *n_best = 0;
  if (w->n_found > MAX_FOUND) {
    qsort(w->found, w->n_found, sizeof *w->found, by_bits);
    w->n_found = MAX_FOUND;
  }
  for (int t = 0; t < IG_QUALITY_TURNS; t++)
    for (int i = 0; i < N; i++)
      turned[t][i] = a->thumb[source(t, QUALITY_SIDE, i % QUALITY_SIDE, i / QUALITY_SIDE)];
  for (size_t i = 0; i < w->n_found; i++) {
    const quality_candidate *c = &w->found[i];
    float x = likeness(turned[c->turn], a->length, &s->marks[s->use[c->at]]);
    if (x < IG_QUALITY_THUMB)
      continue;
    int k = 0, same = *n_best;
    for (k = 0; k < *n_best; k++)
      if (best[k].at == c->at)
        same = k;
    if (same < *n_best) {
      if (score[same] >= x)
        continue;
      for (k = same; k + 1 < *n_best; k++)  // taken out, put in again below
        best[k] = best[k + 1], score[k] = score[k + 1];
      (*n_best)--;
    }
    for (k = *n_best; k > 0 && (score[k - 1] < x || (score[k - 1] == x && best[k - 1].at > c->at)); k--)
      if (k < QUALITY_NEAREST)
        best[k] = best[k - 1], score[k] = score[k - 1];
    if (k == QUALITY_NEAREST)
      continue;
    best[k] = *c, score[k] = x;
    if (*n_best < QUALITY_NEAREST)
      (*n_best)++;
  }
}

// How b (turned: the a given here) differs after the best gain and offset, as shares of the contrast: over the whole
// picture, and in the worst of 8 x 8 fields.
static void compare(const float *a, const float *b, float *difference, float *local) {
  enum { F = QUALITY_FINE, FIELDS = 8, STEP = F / FIELDS };
  double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0, worst = 0, all = 0;
  for (int i = 0; i < F * F; i++)
    ma += (double)a[i], mb += (double)b[i];
  ma /= F * F, mb /= F * F;
  for (int i = 0; i < F * F; i++) {
    double x = (double)a[i] - ma, y = (double)b[i] - mb;
    aa += x * x, bb += y * y, ab += x * y;
  }
  *difference = *local = 1;
  if (aa <= 0 || bb <= 0 || ab <= 0)
    return;
  // Both scaled to contrast 1: the residual is symmetric in a and b.
  double sa = sqrt(F * F / aa), sb = sqrt(F * F / bb);
  for (int f = 0; f < FIELDS * FIELDS; f++) {
    double sum = 0;
    for (int i = 0; i < STEP * STEP; i++) {
      int at = (f / FIELDS * STEP + i / STEP) * F + f % FIELDS * STEP + i % STEP;
      double r = ((double)a[at] - ma) * sa - ((double)b[at] - mb) * sb;
      sum += r * r;
    }
    all += sum;
    worst = fmax(worst, sum / (STEP * STEP));
  }
  *difference = (float)sqrt(all / (F * F));
  *local = (float)sqrt(worst);
}

// Position i against all behind it.
static ig_status search_one(void *shared, quality_work *w, size_t i) {
  enum { F = QUALITY_FINE };
  search *s = shared;
  quality_candidate best[QUALITY_NEAREST];
  quality_pair *out = s->best + i * QUALITY_NEAREST;
  float a[F * F], turned[F * F], b[F * F];
  int n_best;
  w->n_found = 0;
  for (int t = 0; t < IG_QUALITY_TURNS; t++)
    IG_TRY(look_up(s, w, (uint32_t)i, t));
  choose(s, w, (uint32_t)i, best, &n_best);
  if (n_best == 0)
    return IG_OK;
  if (ig_quality_read(s->o->data, s->use[i], w, NULL, NULL) != IG_OK)
    return IG_OK;  // gone since the scan read it
  IG_TRY(ig_quality_grey(w, F, a));
  for (int k = 0; k < n_best; k++) {
    float difference, local;
    if (ig_quality_read(s->o->data, s->use[best[k].at], w, NULL, NULL) != IG_OK)
      continue;
    IG_TRY(ig_quality_grey(w, F, b));
    for (int p = 0; p < F * F; p++)
      turned[p] = a[source(best[k].turn, F, p % F, p / F)];
    compare(turned, b, &difference, &local);
    if (difference <= IG_QUALITY_DIFFERENCE && local <= IG_QUALITY_LOCAL)
      out[k] = (quality_pair){s->use[i], s->use[best[k].at], best[k].turn, difference, local};
  }
  return IG_OK;
}

static int by_difference(const void *pa, const void *pb) {
  const quality_pair *a = pa, *b = pb;
  if (a->difference < b->difference || a->difference > b->difference)
    return a->difference < b->difference ? -1 : 1;
  if (a->a != b->a)
    return a->a < b->a ? -1 : 1;
  return a->b < b->b ? -1 : a->b > b->b;
}

ig_status ig_quality_near(const ig_quality_options *o, const quality_marks *marks, const uint32_t *use, size_t n,
                          quality_pair **pairs, size_t *n_pairs) {
  ig_status status = IG_OK;
  search s = {.o = o, .marks = marks, .use = use, .n = n};
  *pairs = NULL;
  *n_pairs = 0;
  IG_GOTO(ig_alloc_array(n * QUALITY_NEAREST, sizeof *s.best, "pairs of pictures", &s.best));
  IG_GOTO(build(&s));
  IG_GOTO(ig_quality_each(o, "comparing", n, &s, search_one));
  for (size_t i = 0; i < n * QUALITY_NEAREST; i++)
    if (s.best[i].a != s.best[i].b)
      s.best[(*n_pairs)++] = s.best[i];
  if (*n_pairs)
    qsort(s.best, *n_pairs, sizeof *s.best, by_difference);
  *pairs = s.best;
  s.best = NULL;
done:
  for (int k = 0; k < QUARTERS; k++) {
    ig_free(s.start[k]);
    ig_free(s.entry[k]);
    ig_free(s.hash[k]);
  }
  ig_free(s.best);
  return status;
}
