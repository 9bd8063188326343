// One sample: its two segments and its masked words. Rule: every number drawn comes from (seed, epoch, sample) in a
// fixed order; lengths are known from the chunk.
#include <math.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/data/mlm_internal.h"

void ig_mlm_result_fini(ig_mlm_result *r) {
  ig_free(r->ids);
  ig_free(r->types);
  ig_free(r->masked);
  ig_free(r->labels);
  ig_free(r->work);
  memset(r, 0, sizeof *r);
}

static ig_status make_room(const ig_mlm *m, ig_mlm_result *r) {
  const size_t n = (size_t)m->o.max_length, k = (size_t)m->o.max_masked;
  if (r->capacity >= m->o.max_length && r->masked_capacity >= m->o.max_masked)
    return IG_OK;
  ig_mlm_result_fini(r);
  IG_TRY(ig_alloc_array(n, sizeof *r->ids, "a sample", &r->ids));
  IG_TRY(ig_alloc_array(n, sizeof *r->types, "a sample", &r->types));
  IG_TRY(ig_alloc_array(k, sizeof *r->masked, "a sample", &r->masked));
  IG_TRY(ig_alloc_array(k, sizeof *r->labels, "a sample", &r->labels));
  IG_TRY(ig_alloc_array(2 * n + 1, sizeof *r->work, "a sample", &r->work));
  r->capacity = m->o.max_length;
  r->masked_capacity = m->o.max_masked;
  return IG_OK;
}

// ---- segments ----

typedef struct segments {
  uint64_t a, b;  // first tokens
  int n_a, n_b;
  int32_t label;
} segments;

static bool continues(const ig_mlm *m, uint64_t token) {
  int32_t id;
  ig_corpus_read(m->o.corpus, token, 1, &id);
  return m->kind[id] & MLM_CONTINUES;
}

// Tokens of the first segment: up to a sentence's start, or in a single sentence up to a word's.
static int draw_cut(const ig_mlm *m, ig_rng *rng, uint64_t first, int n) {
  const ig_corpus *c = m->o.corpus;
  const uint64_t s0 = ig_corpus_sentence_of(c, first), s1 = ig_corpus_sentence_of(c, first + (uint64_t)n - 1);
  if (n == 1)
    return 1;
  if (s1 > s0)
    return (int)(ig_corpus_sentence(c, s0 + 1 + ig_rng_below(rng, (uint32_t)(s1 - s0))) - first);
  const int drawn = 1 + (int)ig_rng_below(rng, (uint32_t)n - 1);
  for (int cut = drawn; cut < n; cut++)
    if (!continues(m, first + (uint64_t)cut))
      return cut;
  for (int cut = drawn; cut > 0; cut--)
    if (!continues(m, first + (uint64_t)cut))
      return cut;
  return drawn;
}

// Number of the chunk that token t begins.
static uint64_t chunk_at(const ig_mlm *m, uint64_t t) {
  uint64_t low = 0, high = m->n + 1;
  while (high - low > 1) {
    uint64_t mid = low + (high - low) / 2;
    if (m->start[mid] <= t)
      low = mid;
    else
      high = mid;
  }
  return low;
}

// At most `want` tokens of another document of the sample's part, from one of its sentences on.
static void draw_other(const ig_mlm *m, ig_rng *rng, uint64_t sample, uint64_t first, int want, segments *s) {
  const ig_corpus *c = m->o.corpus;
  const uint64_t n_train = m->n - m->n_val;
  const bool val = sample >= n_train;
  const uint64_t here = ig_corpus_document_of(c, ig_corpus_sentence_of(c, first)), base = val ? n_train : 0;
  // A document's chunks are neighbours, in the corpus and in the part: the draw steps over them.
  const uint64_t c0 = chunk_at(m, ig_corpus_sentence(c, ig_corpus_document(c, here)));
  const uint64_t c1 = chunk_at(m, ig_corpus_sentence(c, ig_corpus_document(c, here + 1)));
  const uint64_t own = sample - base - (ig_mlm_chunk_of(m, sample) - c0), n_own = c1 - c0;
  const uint64_t others = (val ? m->n_val : n_train) - n_own;
  const uint64_t high = ig_rng_u32(rng), low = ig_rng_u32(rng);
  uint64_t other = (uint64_t)(((unsigned __int128)(high << 32 | low) * others) >> 64);
  other += other >= own ? n_own : 0;
  uint64_t from;
  int n;
  ig_mlm_chunk(m, base + other, &from, &n);
  const uint64_t s0 = ig_corpus_sentence_of(c, from), s1 = ig_corpus_sentence_of(c, from + (uint64_t)n - 1);
  const uint64_t sentence = s0 + ig_rng_below(rng, (uint32_t)(s1 - s0 + 1));
  const uint64_t at = ig_corpus_sentence(c, sentence) > from ? ig_corpus_sentence(c, sentence) : from;
  const uint64_t end = ig_corpus_sentence(c, ig_corpus_document(c, ig_corpus_document_of(c, sentence) + 1));
  s->b = at;
  s->n_b = end - at < (uint64_t)want ? (int)(end - at) : want;
}

static segments draw_segments(const ig_mlm *m, ig_rng *rng, uint64_t sample) {
  segments s = {0};
  int n;
  ig_mlm_chunk(m, sample, &s.a, &n);
  s.n_a = n;
  if (m->o.pair == IG_PAIR_NONE)
    return s;
  s.label = (int32_t)(ig_rng_u32(rng) >> 31);
  s.n_a = draw_cut(m, rng, s.a, n);
  s.b = s.a + (uint64_t)s.n_a;
  s.n_b = n - s.n_a;
  if (m->o.pair == IG_PAIR_NEXT) {
    s.label = s.n_b ? s.label : 1;
    if (s.label)
      draw_other(m, rng, sample, s.a, s.n_b ? s.n_b : 1, &s);
    return s;
  }
  s.label = s.n_b ? s.label : 0;
  if (s.label)
    s = (segments){s.b, s.a, s.n_b, s.n_a, 1};
  return s;
}

static void write_segments(const ig_mlm *m, const segments *s, ig_mlm_result *r) {
  r->n = 0;
  r->ids[r->n++] = m->cls;
  ig_corpus_read(m->o.corpus, s->a, (size_t)s->n_a, r->ids + r->n);
  r->n += s->n_a;
  r->ids[r->n++] = m->sep;
  const int first = r->n;
  if (s->n_b) {
    ig_corpus_read(m->o.corpus, s->b, (size_t)s->n_b, r->ids + r->n);
    r->n += s->n_b;
    r->ids[r->n++] = m->sep;
  }
  for (int i = 0; i < r->n; i++)
    r->types[i] = i >= first;
  r->next = s->label;
}

// ---- masks ----

// Where the units begin that are masked whole: tokens, or words. work: [units], then the end of each. Returns how many.
static int list_units(const ig_mlm *m, const ig_mlm_result *r, int32_t *begin, int32_t *marks) {
  int n = 0;
  for (int i = 0; i < r->n; i++) {
    const uint8_t kind = m->kind[r->ids[i]];
    marks[i] = 0;
    if (kind & MLM_SPECIAL)
      continue;
    const bool later = m->o.whole_word && (kind & MLM_CONTINUES) && i && !(m->kind[r->ids[i - 1]] & MLM_SPECIAL);
    if (!later)
      begin[n++] = i;
  }
  return n;
}

static int unit_length(const ig_mlm *m, const ig_mlm_result *r, int begin) {
  int n = 1;
  while (m->o.whole_word && begin + n < r->n && (m->kind[r->ids[begin + n]] & MLM_CONTINUES))
    n++;
  return n;
}

static int mark(int32_t *marks, int begin, int n) {
  for (int i = begin; i < begin + n; i++)
    marks[i] = 1;
  return n;
}

// Marks the tokens to predict: units in a drawn order, as far as they fit.
static void draw_marks(const ig_mlm *m, ig_rng *rng, const ig_mlm_result *r, int32_t *begin, int32_t *marks) {
  const int n = list_units(m, r, begin, marks);
  int maskable = 0, chosen = 0, shortest = -1, shortest_n = m->o.max_masked + 1;
  for (int i = 0; i < r->n; i++)
    maskable += !(m->kind[r->ids[i]] & MLM_SPECIAL);
  int want = (int)lround(m->o.mask_share * maskable);
  want = want < 1 ? 1 : want > m->o.max_masked ? m->o.max_masked : want;
  for (int i = 0; i < n && chosen < want; i++) {
    const int j = i + (int)ig_rng_below(rng, (uint32_t)(n - i)), at = begin[j], k = unit_length(m, r, at);
    begin[j] = begin[i];
    if (chosen + k <= want)
      chosen += mark(marks, at, k);
    if (k < shortest_n)
      shortest = at, shortest_n = k;
  }
  if (!chosen && shortest >= 0)  // every word is longer than the share
    mark(marks, shortest, shortest_n);
}

static int32_t random_id(const ig_mlm *m, ig_rng *rng) {
  int32_t id = (int32_t)ig_rng_below(rng, (uint32_t)(m->vocabulary - m->n_special));
  for (int i = 0; i < m->n_special; i++)
    id += id >= m->special[i];
  return id;
}

static void mask_tokens(const ig_mlm *m, ig_rng *rng, ig_mlm_result *r) {
  int32_t *begin = r->work, *marks = r->work + m->o.max_length;
  draw_marks(m, rng, r, begin, marks);
  r->n_masked = 0;
  for (int i = 0; i < r->n; i++) {
    if (!marks[i])
      continue;
    const double u = ig_rng_uniform(rng);
    r->masked[r->n_masked] = i;
    r->labels[r->n_masked++] = r->ids[i];
    if (u < m->o.mask_token)
      r->ids[i] = m->mask;
    else if (u < m->o.mask_token + m->o.random_token)
      r->ids[i] = random_id(m, rng);
  }
}

static void copy_given(const ig_mlm *m, uint64_t sample, ig_mlm_result *r) {
  ig_mlm_given_row row;
  m->given->get(m->given->state, ig_mlm_chunk_of(m, sample), &row);
  r->n = row.n;
  memcpy(r->ids, row.ids, (size_t)row.n * sizeof *r->ids);
  for (int i = 0; i < row.n; i++)
    r->types[i] = i >= row.n_first;
  r->n_masked = row.n_masked;
  for (int k = 0; k < row.n_masked; k++) {
    r->masked[k] = row.masked[k];
    r->labels[k] = row.labels[k];
  }
  r->next = m->o.pair == IG_PAIR_NONE ? 0 : row.next;
}

ig_status ig_mlm_sample(const ig_mlm *m, int64_t epoch, uint64_t sample, ig_mlm_result *r) {
  if (sample >= m->n || epoch < 0)
    return ig_fail(IG_ERR_USAGE, "pre-training: sample %llu of %llu, epoch %lld", (unsigned long long)sample,
                   (unsigned long long)m->n, (long long)epoch);
  IG_TRY(make_room(m, r));
  if (m->given) {
    copy_given(m, sample, r);
    return IG_OK;
  }
  const bool val = sample >= m->n - m->n_val;
  const uint64_t key = ig_hash_mix(m->o.seed, ig_hash_str(val ? "mlm validation" : "mlm"));
  ig_rng rng = ig_rng_make(key, val ? 0 : (uint64_t)epoch, sample);
  const segments s = draw_segments(m, &rng, sample);
  write_segments(m, &s, r);
  mask_tokens(m, &rng, r);
  return IG_OK;
}
