// Names of classes that people would take for one. Rule: they stay two, as data say, but nobody finds that out from a
// confusion matrix alone: letters in another case, blanks, composed and decomposed accents, 1 and 01.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"
#include "runtime/tokenizer/unicode.h"

typedef struct folded {
  const char *key, *name;
} folded;

static int by_key(const void *pa, const void *pb) {
  const folded *a = pa, *b = pb;
  int order = strcmp(a->key, b->key);
  return order ? order : strcmp(a->name, b->name);
}

static ig_status add_code(ig_text *to, uint32_t c) {
  uint8_t bytes[4];
  return ig_text_add(to, (const char *)bytes, ig_utf8_encode(c, bytes));
}

// A number by its value; else small letters, decomposed, without blanks and what nobody sees.
static ig_status fold(const ig_unicode *u, const char *name, ig_text *to) {
  const uint8_t *p = (const uint8_t *)name, *end = p + strlen(name);
  size_t invalid = 0;
  char *rest;
  double number = strtod(name, &rest);
  to->n = 0;
  if (rest != name && !*rest && isfinite(number))
    return ig_text_addf(to, "%.17g", number + 0.0);
  while (p < end) {
    uint32_t c, low[2], parts[IG_MAX_PARTS];
    p += ig_utf8_decode(p, end, &c, &invalid);
    if (ig_unicode_value(u, IG_SET_SPACE, c) || ig_unicode_value(u, IG_SET_DROPPED, c))
      continue;
    const size_t n = ig_unicode_lower(c, low);
    for (size_t i = 0; i < n; i++) {
      const size_t k = ig_unicode_decompose(low[i], parts);
      for (size_t j = 0; j < k; j++)
        IG_TRY(add_code(to, parts[j]));
    }
  }
  return ig_text_add(to, "", 1);
}

ig_status ig_tell_alike(const ig_builder *b) {
  const ig_dataset *d = b->d;
  const size_t n = (size_t)d->n_classes;
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  ig_status status = IG_OK;
  ig_unicode u = {0};
  ig_text key = {0};
  folded *f = NULL;
  size_t pairs = 0, first = 0;
  if (b->options->classes || !b->options->needs_labels || d->task == IG_TASK_REGRESS || n < 2)
    return IG_OK;
  IG_GOTO(ig_unicode_init(&u));
  IG_GOTO(ig_alloc_array(n, sizeof *f, "class names", &f));
  for (size_t i = 0; i < n; i++) {
    f[i].name = d->classes[i];
    IG_GOTO(fold(&u, f[i].name, &key));
    IG_GOTO(ig_dataset_text(b->d, key.data, strlen(key.data), &f[i].key));
  }
  qsort(f, n, sizeof *f, by_key);
  for (size_t i = 1; i < n; i++)
    if (!strcmp(f[i].key, f[i - 1].key) && pairs++ == 0)
      first = i;
  if (pairs) {
    char more[64] = "";
    if (pairs > 1)
      snprintf(more, sizeof more, " (%zu more such %s)", pairs - 1, ig_plural(pairs - 1, "pair", "pairs"));
    ig_builder_warn(b,
                    "%s %s and %s are learned as two, but differ in nothing but upper and lower case, blanks, zeros or "
                    "how accents are encoded%s; write them alike if they are one",
                    d->task == IG_TASK_CLASSIFY ? "classes"
                    : d->task == IG_TASK_TAG    ? "tags"
                                                : "labels",
                    ig_quote(q, f[first - 1].name), ig_quote(q2, f[first].name), more);
  }
done:
  ig_unicode_fini(&u);
  ig_free(key.data);
  ig_free(f);
  return status;
}
