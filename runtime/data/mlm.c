// The chunks of a corpus and the drawing of samples. Rule: see mlm.h; a chunk costs eight bytes, everything else about
// it is looked up in the corpus.
#include "runtime/data/mlm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/base/text.h"
#include "runtime/data/mlm_internal.h"

static const char *const pair_names[] = {"none", "next", "order"};

const char *ig_mlm_pair_name(ig_mlm_pair pair) {
  return (unsigned)pair <= IG_PAIR_ORDER ? pair_names[pair] : "unknown";
}

bool ig_mlm_pair_from_text(const char *text, ig_mlm_pair *out) {
  for (int i = 0; i <= IG_PAIR_ORDER; i++)
    if (!strcmp(text, pair_names[i])) {
      *out = (ig_mlm_pair)i;
      return true;
    }
  return false;
}

ig_mlm_options ig_mlm_options_default(void) {
  return (ig_mlm_options){.size = sizeof(ig_mlm_options),
                          .max_length = 128,
                          .pair = IG_PAIR_NEXT,
                          .mask_share = 0.15,
                          .mask_token = 0.8,
                          .random_token = 0.1,
                          .val_share = 0.05,
                          .seed = 1};
}

// ---- chunks ----

typedef struct chunks {
  uint64_t *start, n;
  size_t capacity;
} chunks;

static ig_status add_chunk(chunks *c, uint64_t start) {
  IG_TRY(ig_grow(&c->start, &c->capacity, (size_t)c->n, (size_t)c->n + 1, sizeof *c->start, "chunks of a corpus"));
  c->start[c->n++] = start;
  return IG_OK;
}

// Greedy: a sentence that does not fit begins the next chunk; one that fits into none is cut.
static ig_status cut_document(const ig_corpus *corpus, uint64_t document, uint64_t room, chunks *c) {
  const uint64_t end = ig_corpus_document(corpus, document + 1);
  uint64_t used = 0;
  for (uint64_t s = ig_corpus_document(corpus, document); s < end; s++) {
    uint64_t at = ig_corpus_sentence(corpus, s), n = ig_corpus_sentence(corpus, s + 1) - at;
    if (used == 0 || used + n > room) {
      IG_TRY(add_chunk(c, at));
      used = 0;
    }
    for (; n > room; n -= room)
      IG_TRY(add_chunk(c, at += room));
    used += n;
  }
  return IG_OK;
}

static ig_status make_chunks(ig_mlm *m, uint64_t held_out) {
  const uint64_t n_documents = m->corpus.n_documents, key = ig_hash_mix(m->o.seed, ig_hash_str("mlm held out"));
  chunks all = {0}, val = {0};
  ig_status status = IG_OK;
  for (uint64_t d = 0; d < n_documents; d++) {
    const uint64_t first = all.n;
    IG_GOTO(cut_document(m->o.corpus, d, (uint64_t)m->room, &all));
    if (held_out && ig_permute(key, n_documents, d) < held_out)
      for (uint64_t i = first; i < all.n; i++)
        IG_GOTO(add_chunk(&val, i));
  }
  m->n = all.n;
  IG_GOTO(add_chunk(&all, m->corpus.n_tokens));
done:
  m->start = all.start;
  m->val = val.start;
  m->n_val = val.n;
  return status;
}

// ---- options ----

static ig_status check_options(const ig_mlm_options *o) {
  const int least = o->pair == IG_PAIR_NONE ? 3 : 5;
  if (!o->corpus || !ig_corpus_tokenizer(o->corpus) || (unsigned)o->pair > IG_PAIR_ORDER)
    return ig_fail(IG_ERR_USAGE, "pre-training: no corpus with a tokenizer, or an unknown kind of pairs");
  if (o->max_length < least || o->max_length > MLM_LONGEST)
    return ig_fail(IG_ERR_USAGE, "max_length=%d: expected %d to %d tokens a sample", o->max_length, least, MLM_LONGEST);
  if (!(o->mask_share > 0 && o->mask_share < 1))
    return ig_fail(IG_ERR_USAGE, "mask_share=%g: expected a share between 0 and 1, such as 0.15", o->mask_share);
  if (!(o->mask_token >= 0 && o->random_token >= 0 && o->mask_token + o->random_token <= 1))
    return ig_fail(IG_ERR_USAGE, "of the chosen tokens %g become [MASK] and %g random; expected shares of at most 1",
                   o->mask_token, o->random_token);
  if (o->max_masked < 0 || o->max_masked > o->max_length)
    return ig_fail(IG_ERR_USAGE, "max_masked=%d: expected 1 to max_length=%d, or 0", o->max_masked, o->max_length);
  if (!(o->val_share >= 0 && o->val_share < 1))
    return ig_fail(IG_ERR_USAGE, "a share of %g of the documents cannot be held out; expected 0 to below 1",
                   o->val_share);
  return IG_OK;
}

static ig_status set_tokens(ig_mlm *m) {
  const ig_tokenizer *t = ig_corpus_tokenizer(m->o.corpus);
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  m->vocabulary = info.vocabulary;
  m->cls = info.cls, m->sep = info.sep, m->mask = info.mask;
  const char *missing = info.cls < 0 ? "[CLS]" : info.sep < 0 ? "[SEP]" : info.mask < 0 ? "[MASK]" : NULL;
  if (missing)
    return ig_fail(IG_ERR_MISMATCH, "the tokenizer has no %s: it was not made for BERT", missing);
  const int32_t special[] = {info.pad, info.unk, info.cls, info.sep, info.mask};
  IG_TRY(ig_alloc((size_t)m->vocabulary, "kinds of tokens", &m->kind));
  for (size_t i = 0; i < sizeof special / sizeof *special; i++)
    if (special[i] >= 0)
      m->kind[special[i]] = MLM_SPECIAL;
  const size_t n_prefix = info.prefix ? strlen(info.prefix) : 0;
  for (int32_t id = 0; id < m->vocabulary; id++) {  // ascending, so that drawn numbers step over them
    const char *token = ig_tokenizer_token(t, id);
    if (m->kind[id] & MLM_SPECIAL)
      m->special[m->n_special++] = id;
    else if (n_prefix && token && !strncmp(token, info.prefix, n_prefix) && token[n_prefix])
      m->kind[id] = MLM_CONTINUES;
  }
  if (m->n_special == m->vocabulary)
    return ig_fail(IG_ERR_MISMATCH, "the vocabulary holds nothing but special tokens");
  return IG_OK;
}

// Documents of the validation part: their share, at least what a part needs.
static ig_status held_out(const ig_mlm *m, uint64_t *out) {
  const uint64_t n = m->corpus.n_documents, least = m->o.pair == IG_PAIR_NEXT ? 2 : 1;
  *out = 0;
  if (m->o.val_share > 0) {
    *out = (uint64_t)llround(m->o.val_share * (double)n);
    *out = *out < least ? least : *out;
  }
  if (n >= *out + least)
    return IG_OK;
  return ig_fail(IG_ERR_DATA,
                 "the corpus has %llu %s; %llu are needed: %llu to train on%s, and a share of %g (%llu) held out "
                 "for validation; separate documents by a blank line, hold out none, or ask for no pairs",
                 (unsigned long long)n, ig_plural((unsigned long long)n, "document", "documents"),
                 (unsigned long long)(*out + least), (unsigned long long)least,
                 least == 2 ? " (a pair may need another document)" : "", m->o.val_share, (unsigned long long)*out);
}

ig_status ig_mlm_create(const ig_mlm_options *options, ig_mlm **out) {
  ig_status status = IG_OK;
  ig_mlm *m;
  uint64_t n_held;
  *out = NULL;
  IG_TRY(check_options(options));
  IG_TRY(ig_alloc(sizeof *m, "samples for pre-training", &m));
  m->o = *options;
  m->room = m->o.max_length - (m->o.pair == IG_PAIR_NONE ? 2 : 3);
  if (m->o.max_masked == 0)
    m->o.max_masked = (int)ceil(m->o.mask_share * m->o.max_length - 1e-9);
  ig_corpus_get_info(m->o.corpus, &m->corpus);
  IG_GOTO(set_tokens(m));
  IG_GOTO(held_out(m, &n_held));
  IG_GOTO(make_chunks(m, n_held));
  *out = m;
  m = NULL;
done:
  ig_mlm_destroy(m);
  return status;
}

// Given rows are their own chunks; none has a start.
static ig_status make_given(ig_mlm *m, const ig_mlm_given *g) {
  ig_mlm_given *copy;
  chunks val = {0};
  const uint64_t key = ig_hash_mix(g->seed, ig_hash_str("mlm held out"));
  uint64_t held = (uint64_t)llround(g->val_share * (double)g->n);
  held = g->val_share > 0 && held < 1 ? 1 : held;
  if (g->n <= held)
    return ig_fail(IG_ERR_DATA, "%llu %s; more than the %llu that are held out for validation are needed",
                   (unsigned long long)g->n, ig_plural((unsigned long long)g->n, "sample", "samples"),
                   (unsigned long long)held);
  IG_TRY(ig_alloc(sizeof *copy, "samples for pre-training", &copy));
  *copy = *g;
  m->given = copy;
  m->n = g->n;
  m->o = (ig_mlm_options){.size = sizeof m->o,
                          .max_length = g->longest,
                          .max_masked = g->max_masked < 1 ? 1 : g->max_masked,
                          .pair = g->pairs ? IG_PAIR_NEXT : IG_PAIR_NONE,
                          .val_share = g->val_share,
                          .seed = g->seed};
  for (uint64_t i = 0; held && i < g->n; i++) {
    ig_status status = ig_permute(key, g->n, i) < held ? add_chunk(&val, i) : IG_OK;
    m->val = val.start;
    m->n_val = val.n;
    IG_TRY(status);
  }
  return IG_OK;
}

ig_status ig_mlm_create_given(const ig_mlm_given *given, ig_mlm **out) {
  ig_mlm *m;
  *out = NULL;
  if (!given->get || given->longest < 1 || given->longest > MLM_LONGEST || !(given->val_share >= 0) ||
      given->val_share >= 1)
    return ig_fail(IG_ERR_USAGE, "pre-training: given samples of %d tokens, a share of %g held out", given->longest,
                   given->val_share);
  IG_TRY(ig_alloc(sizeof *m, "samples for pre-training", &m));
  ig_status status = make_given(m, given);
  if (status == IG_OK)
    *out = m;
  else
    ig_mlm_destroy(m);
  return status;
}

void ig_mlm_destroy(ig_mlm *m) {
  if (!m)
    return;
  ig_free((void *)m->given);
  ig_free(m->start);
  ig_free(m->val);
  ig_free(m->kind);
  ig_free(m);
}

uint64_t ig_mlm_count(const ig_mlm *m, ig_part part) {
  return part == IG_PART_TRAIN ? m->n - m->n_val : part == IG_PART_VAL ? m->n_val : part == IG_PART_ALL ? m->n : 0;
}
int ig_mlm_max_length(const ig_mlm *m) { return m->o.max_length; }
int ig_mlm_max_masked(const ig_mlm *m) { return m->o.max_masked; }
ig_mlm_pair ig_mlm_pairs(const ig_mlm *m) { return m->o.pair; }

// A sample has its share, rounded, or one token; given ones and whole words may have more.
int64_t ig_mlm_masked_rows(const ig_mlm *m, int batch, int64_t capacity) {
  const int64_t most = (int64_t)batch * m->o.max_masked;
  const int64_t rows = ((int64_t)(m->o.mask_share * (double)capacity) + batch + 7) / 8 * 8;
  return m->given || m->o.whole_word || most < rows ? most : rows;
}

// The sample's chunk. Training samples step over the chunks that are held out: val[j] - j of them lie before val[j].
uint64_t ig_mlm_chunk_of(const ig_mlm *m, uint64_t sample) {
  const uint64_t n_train = m->n - m->n_val;
  if (sample >= n_train)
    return m->val[sample - n_train];
  uint64_t low = 0, high = m->n_val;  // the first j with val[j] - j > sample
  while (low < high) {
    uint64_t mid = low + (high - low) / 2;
    if (m->val[mid] - mid <= sample)
      low = mid + 1;
    else
      high = mid;
  }
  return sample + low;
}

void ig_mlm_chunk(const ig_mlm *m, uint64_t sample, uint64_t *first, int *n) {
  const uint64_t c = ig_mlm_chunk_of(m, sample);
  ig_mlm_given_row row;
  if (m->given) {
    m->given->get(m->given->state, c, &row);
    *first = c;
    *n = row.n;
    return;
  }
  *first = m->start[c];
  *n = (int)(m->start[c + 1] - m->start[c]);
}

int ig_mlm_length(const ig_mlm *m, uint64_t sample) {
  uint64_t first;
  int n;
  ig_mlm_chunk(m, sample, &first, &n);
  if (m->given)
    return n;
  if (m->o.pair == IG_PAIR_NONE)
    return n + 2;
  return (m->o.pair == IG_PAIR_NEXT && n == 1 ? 2 : n) + 3;  // a token alone still gets a second segment
}

static bool can_mask(const ig_mlm *m, uint64_t sample) {
  enum { BLOCK = 256 };
  int32_t ids[BLOCK];
  uint64_t first;
  int n;
  ig_mlm_given_row row;
  if (m->given) {
    m->given->get(m->given->state, ig_mlm_chunk_of(m, sample), &row);
    return row.n_masked > 0;
  }
  ig_mlm_chunk(m, sample, &first, &n);
  for (int k; n > 0; n -= k, first += (uint64_t)k) {
    k = n < BLOCK ? n : BLOCK;
    ig_corpus_read(m->o.corpus, first, (size_t)k, ids);
    for (int i = 0; i < k; i++)
      if (!(m->kind[ids[i]] & MLM_SPECIAL))
        return true;
  }
  return false;
}

bool ig_mlm_can_mask(const ig_mlm *m, ig_part part) {
  const uint64_t first = part == IG_PART_VAL ? m->n - m->n_val : 0, n = ig_mlm_count(m, part);
  for (uint64_t i = 0; i < n; i++)
    if (can_mask(m, first + i))
      return true;
  return false;
}

void ig_mlm_fingerprint(const ig_mlm *m, char out[65]) {
  const ig_mlm_options *o = &m->o;
  char text[512];
  int n = snprintf(text, sizeof text, "ingot mlm 1\n%s\n%d %s %a %a %a %d %d %a %llu",
                   m->given ? m->given->fingerprint : m->corpus.fingerprint, o->max_length, ig_mlm_pair_name(o->pair),
                   o->mask_share, o->mask_token, o->random_token, o->whole_word, o->max_masked, o->val_share,
                   (unsigned long long)o->seed);
  ig_sha256_hex(text, (size_t)n, out);
}
