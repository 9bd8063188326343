// Copies, lengths and findings of texts. Rule: see text_quality.h; a finding says what was found with its figures, why
// it matters and what to do.
#include "runtime/data/text_quality.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"

enum { FEW = 8, RATIO = 10 };
#define MANY_UNKNOWN 0.05  // of the tokens: the vocabulary is of another language or field
#define MANY_CUT     0.01  // of the texts

typedef struct marked {
  uint64_t hash;
  size_t sample;
} marked;

static uint64_t hash_bytes(uint64_t h, const char *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    h = (h ^ (uint8_t)p[i]) * 0x100000001B3ull;
  return (h ^ n) * 0x100000001B3ull;
}

static uint64_t hash_text(const ig_text_sample *t) {
  uint64_t h = hash_bytes(0xCBF29CE484222325ull, t->first, t->n_first);
  h = hash_bytes(h, t->second, t->n_second);
  for (size_t i = 0; i < t->n_words; i++)
    h = hash_bytes(h, t->words[i], strlen(t->words[i]));
  return h;
}

static int order(const char *a, size_t na, const char *b, size_t nb) {
  size_t n = na < nb ? na : nb;
  int by_bytes = n ? memcmp(a, b, n) : 0;
  return by_bytes ? by_bytes : (na > nb) - (na < nb);
}

static int order_texts(const ig_text_sample *a, const ig_text_sample *b) {
  int by = order(a->first, a->n_first, b->first, b->n_first);
  by = by ? by : order(a->second, a->n_second, b->second, b->n_second);
  for (size_t i = 0; !by && i < a->n_words && i < b->n_words; i++)
    by = strcmp(a->words[i], b->words[i]);
  return by ? by : (a->n_words > b->n_words) - (a->n_words < b->n_words);
}

static int by_hash(const void *pa, const void *pb) {
  const marked *a = pa, *b = pb;
  return a->hash != b->hash ? (a->hash > b->hash) - (a->hash < b->hash)
                            : (a->sample > b->sample) - (a->sample < b->sample);
}

static bool same_label(const ig_dataset *d, size_t a, size_t b) {
  size_t k = (size_t)d->n_classes;
  const ig_text_sample *ta = &d->texts[a], *tb = &d->texts[b];
  if (ta->word_labels && tb->word_labels)
    return !memcmp(ta->word_labels, tb->word_labels, ta->n_words * sizeof *ta->word_labels);
  if (d->targets)
    return !memcmp(d->targets + a * k, d->targets + b * k, k * sizeof *d->targets);
  return d->samples[a].label == d->samples[b].label;
}

// A part held out here comes from the training part, and so counts as it.
static unsigned part_bit(const ig_dataset *d, size_t sample) {
  ig_part part = d->samples[sample].part;
  return 1u << (part == IG_PART_VAL && !d->val_was_given ? IG_PART_TRAIN : part);
}

// Samples m[0..n) have one hash: those that are really the same become groups.
static ig_status add_groups(ig_text_quality *q, marked *m, size_t n, size_t *capacity) {
  const ig_dataset *d = q->data;
  for (size_t i = 0; i < n; i++) {
    ig_text_group g = {.first = q->n_members};
    if (m[i].sample == SIZE_MAX)
      continue;
    for (size_t k = i; k < n; k++) {
      if (m[k].sample == SIZE_MAX || order_texts(&d->texts[m[i].sample], &d->texts[m[k].sample]))
        continue;
      q->members[g.first + g.n++] = m[k].sample;
      g.parts |= part_bit(d, m[k].sample);
      g.labels_differ |= !same_label(d, m[i].sample, m[k].sample);
      if (k > i)
        m[k].sample = SIZE_MAX;
    }
    if (g.n < 2)
      continue;
    for (size_t k = 0; k < g.n; k++)
      q->n_leaks += (g.parts & 1u << IG_PART_TRAIN) && part_bit(d, q->members[g.first + k]) != 1u << IG_PART_TRAIN;
    q->n_copies += g.n - 1;
    q->n_conflicts += g.labels_differ;
    q->n_members += g.n;
    IG_TRY(ig_grow(&q->groups, capacity, q->n_groups, q->n_groups + 1, sizeof g, "copies of texts"));
    q->groups[q->n_groups++] = g;
  }
  return IG_OK;
}

static ig_status find_copies(ig_text_quality *q) {
  const ig_dataset *d = q->data;
  ig_status status = IG_OK;
  size_t capacity = 0;
  marked *m;
  IG_TRY(ig_alloc_array(d->n, sizeof *m, "copies of texts", &m));
  IG_GOTO(ig_alloc_array(d->n, sizeof *q->members, "copies of texts", &q->members));
  for (size_t i = 0; i < d->n; i++)
    m[i] = (marked){hash_text(&d->texts[i]), i};
  if (d->n)
    qsort(m, d->n, sizeof *m, by_hash);
  for (size_t i = 0, end; i < d->n; i = end) {
    for (end = i + 1; end < d->n && m[end].hash == m[i].hash;)
      end++;
    if (end > i + 1)
      IG_GOTO(add_groups(q, m + i, end - i, &capacity));
  }
  // By first sample, so that the order of hashes is nobody's business.
  for (size_t g = 0; g < q->n_groups; g++)
    m[g] = (marked){q->members[q->groups[g].first], g};
  if (q->n_groups)
    qsort(m, q->n_groups, sizeof *m, by_hash);
  ig_text_group *sorted;
  IG_GOTO(ig_alloc_array(q->n_groups, sizeof *sorted, "copies of texts", &sorted));
  for (size_t g = 0; g < q->n_groups; g++)
    sorted[g] = q->groups[m[g].sample];
  ig_free(q->groups);
  q->groups = sorted;
done:
  ig_free(m);
  return status;
}

__attribute__((format(printf, 5, 6))) static ig_status find(ig_text_quality *q, ig_severity severity, const char *code,
                                                            size_t count, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  ig_quality_finding f = {.severity = severity, .code = code, .count = count};
  IG_TRY(ig_grow(&q->findings, &q->findings_capacity, q->n_findings, q->n_findings + 1, sizeof f, "findings"));
  IG_TRY(ig_strdup(text, &f.text));
  q->findings[q->n_findings++] = f;
  return IG_OK;
}

// The first group of which `holds`: its members' names.
static void name_group(const ig_text_quality *q, bool leaks, char a[IG_QUOTE_BYTES], char b[IG_QUOTE_BYTES]) {
  const ig_sample *s = q->data->samples;
  for (size_t g = 0; g < q->n_groups; g++) {
    const ig_text_group *group = &q->groups[g];
    const size_t *member = q->members + group->first;
    for (size_t k = 1; k < group->n; k++) {
      bool differ = leaks ? part_bit(q->data, member[0]) != part_bit(q->data, member[k])
                          : !same_label(q->data, member[0], member[k]);
      if (!differ)
        continue;
      ig_quote(a, s[member[0]].name);
      ig_quote(b, s[member[k]].name);
      return;
    }
  }
}

static ig_status judge_serious(ig_text_quality *q) {
  char a[IG_QUOTE_BYTES] = "", b[IG_QUOTE_BYTES] = "";
  if (q->n_leaks) {
    name_group(q, true, a, b);
    IG_TRY(find(
        q, IG_SEVERITY_SERIOUS, "leak", q->n_leaks,
        "%zu %s in the training part too (first: %s and %s). Figures on %s are too good; take %s out of one part.",
        q->n_leaks, ig_plural(q->n_leaks, "text of the val or test part stands", "texts of the val or test part stand"),
        a, b, ig_plural(q->n_leaks, "it", "them"), ig_plural(q->n_leaks, "it", "them")));
  }
  if (q->n_conflicts) {
    name_group(q, false, a, b);
    IG_TRY(find(q, IG_SEVERITY_SERIOUS, "label_conflict", q->n_conflicts,
                "%zu %s there with several labels (first: %s and %s). One of them is wrong.", q->n_conflicts,
                ig_plural(q->n_conflicts, "text stands", "texts stand"), a, b));
  }
  return IG_OK;
}

static ig_status judge_classes(ig_text_quality *q) {
  const ig_dataset *d = q->data;
  int least = -1, most = -1, few = 0;
  char qa[IG_QUOTE_BYTES], qb[IG_QUOTE_BYTES];
  if (d->task != IG_TASK_CLASSIFY || d->count[IG_PART_TRAIN] == 0)
    return IG_OK;
  for (int c = 0; c < d->n_classes; c++) {
    least = least < 0 || q->counts[c] < q->counts[least] ? c : least;
    most = most < 0 || q->counts[c] > q->counts[most] ? c : most;
    few += q->counts[c] < FEW;
  }
  if (few)
    IG_TRY(find(q, IG_SEVERITY_CARE, "few_texts", (size_t)few,
                "%d %s fewer than %d training texts (fewest: %s with %lld). %s will be learned badly; add some.", few,
                ig_plural((unsigned)few, "class has", "classes have"), FEW, ig_quote(qa, d->classes[least]),
                (long long)q->counts[least], ig_plural((unsigned)few, "It", "They")));
  if (least >= 0 && q->counts[least] > 0 && q->counts[most] >= RATIO * q->counts[least])
    IG_TRY(find(q, IG_SEVERITY_CARE, "imbalance", 1,
                "class %s has %lld training %s, class %s has %lld. Consider class_weights=balanced.",
                ig_quote(qa, d->classes[most]), (long long)q->counts[most],
                ig_plural((unsigned long long)q->counts[most], "text", "texts"), ig_quote(qb, d->classes[least]),
                (long long)q->counts[least]));
  return IG_OK;
}

static ig_status judge_tokens(ig_text_quality *q) {
  const ig_token_table *t = q->data->tokens;
  const size_t n = q->data->n;
  if (!t)
    return IG_OK;
  if ((double)t->n_unknown > MANY_UNKNOWN * (double)t->n_tokens)
    IG_TRY(
        find(q, IG_SEVERITY_CARE, "unknown", (size_t)t->n_unknown,
             "%.1f %% of the tokens are unknown to the vocabulary. It is of another language or writing; take another "
             "tokenizer.",
             100.0 * (double)t->n_unknown / (double)t->n_tokens));
  if ((double)t->n_truncated > MANY_CUT * (double)n)
    IG_TRY(find(q, IG_SEVERITY_CARE, "truncated", t->n_truncated,
                "%zu of %zu %s %s longer than %d tokens and cut. Raise max_length= where the ends matter.",
                t->n_truncated, n, ig_plural(n, "text", "texts"), ig_plural(t->n_truncated, "is", "are"),
                t->max_length));
  return IG_OK;
}

static ig_status judge_bytes(ig_text_quality *q) {
  const unsigned long long n = q->data->n_invalid;
  return n == 0 ? IG_OK
                : find(q, IG_SEVERITY_NOTE, "not_utf8", (size_t)n,
                       "%llu %s no UTF-8, or NUL, and %s read as U+FFFD. Save the files as UTF-8.", n,
                       ig_plural(n, "place is", "places are"), ig_plural(n, "is", "are"));
}

static ig_status judge_labels(ig_text_quality *q) {
  size_t seen = 0;
  for (size_t i = 0; i < q->n_suspects; i++)
    seen += q->suspects[i].seen;
  if (q->n_suspects)
    IG_TRY(find(q, IG_SEVERITY_CARE, "suspicious_labels", q->n_suspects,
                "The model is confident of another class than the label in %zu %s (%zu of them in the training part). "
                "Some are wrong labels, some are the model's mistakes: read them, the surest first.",
                q->n_suspects, ig_plural(q->n_suspects, "text", "texts"), seen));
  return IG_OK;
}

// The last finding: a note.
static ig_status judge_by_heart(ig_text_quality *q) {
  if (!q->asked_model || q->data->count[IG_PART_TRAIN] == 0)
    return IG_OK;
  return find(
      q, IG_SEVERITY_NOTE, "labels_by_heart", q->data->count[IG_PART_TRAIN],
      "If the model was trained on this data, it may know wrong labels of the training part by heart: an empty "
      "list does not prove them. Other parts are judged fairly.%s",
      q->data->val_was_given ? "" : " Which texts it held out depends on split and seed: give those of the run.");
}

ig_status ig_text_quality_suspects(const ig_dataset *data, const float *logits, const uint64_t *samples, size_t n,
                                   int classes, ig_text_quality *q) {
  q->asked_model = true;
  return ig_find_suspects(data, logits, samples, n, classes, &q->suspects, &q->n_suspects);
}

static void count_lengths(ig_text_quality *q) {
  const ig_dataset *d = q->data;
  for (size_t i = 0; i < d->n; i++) {
    const ig_text_sample *t = &d->texts[i];
    uint64_t n = d->tokens ? d->tokens->start[i + 1] - d->tokens->start[i] : t->n_first + t->n_second;
    for (size_t k = 0; !d->tokens && k < t->n_words; k++)
      n += strlen(t->words[k]);
    int bin = 0;
    while (n >>= 1)
      bin++;
    q->lengths[d->samples[i].part][bin < IG_TEXT_BINS ? bin : IG_TEXT_BINS - 1]++;
  }
}

ig_status ig_text_quality_scan(const ig_dataset *d, ig_text_quality *q) {
  if (!d->texts)
    return ig_fail(IG_ERR_USAGE, "%s: not a set of texts", d->path);
  q->data = d;
  IG_TRY(find_copies(q));
  count_lengths(q);
  size_t k = (size_t)d->n_classes;
  if (d->task != IG_TASK_REGRESS) {
    IG_TRY(ig_alloc_array(IG_N_PARTS * k, sizeof *q->counts, "counts of classes", &q->counts));
    for (int p = 0; p < IG_N_PARTS; p++)
      ig_dataset_class_counts(d, (ig_part)p, q->counts + (size_t)p * k);
  }
  IG_TRY(judge_serious(q));
  IG_TRY(judge_classes(q));
  size_t within = q->n_copies - (q->n_leaks < q->n_copies ? q->n_leaks : q->n_copies);
  if (within)
    IG_TRY(find(q, IG_SEVERITY_CARE, "duplicates", within,
                "%zu %s within a part. %s more than others; keep one of each.", within,
                ig_plural(within, "text stands there again", "texts stand there again"),
                ig_plural(within, "It counts", "They count")));
  IG_TRY(judge_labels(q));
  IG_TRY(judge_tokens(q));
  IG_TRY(judge_bytes(q));
  return judge_by_heart(q);
}

void ig_text_quality_fini(ig_text_quality *q) {
  for (size_t i = 0; i < q->n_findings; i++)
    ig_free(q->findings[i].text);
  ig_free(q->findings);
  ig_free(q->members);
  ig_free(q->suspects);
  ig_free(q->groups);
  ig_free(q->counts);
  memset(q, 0, sizeof *q);
}
