// What is learned from the label columns of a split file or a table of texts: one class, numbers (regress), or any
// number of labels (multilabel). Rule: a cell that does not fit is an error that names file:row:column.
//
// task=auto: one column with `;` in a cell is multilabel, numbers of which one has a fraction are regress (where most
// are and one is none, that is an error), all else classes; several columns (label_column=) of 0 and 1 alone are
// multilabel, of numbers regress.
// multilabel: one column of names separated by `;` (empty: none holds), or a column a label that holds 0 or 1.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

enum { STRATA = 5, STRATUM_SAMPLES = 10, MAX_LABELS = 1 << 16 };

static const char *table_of(const ig_builder *b) { return b->csv ? b->csv : b->d->path; }

static ig_status fail_cell(const ig_builder *b, const ig_candidate *item, size_t column, const char *cell,
                           const char *expected) {
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: column %s: found %s, expected %s", b->csv ? b->csv : item->sample.path,
                 item->row, item->columns[column] + 1, ig_quote(q2, b->columns[column]), ig_quote(q, cell), expected);
}

static const char *trimmed_end(const char *from, const char *to) {
  while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
    to--;
  return to;
}

// A finite number that fits a float, blanks around it allowed. 0x10 is none: whoever writes it means a name.
static bool number_of(const char *cell, double *out) {
  char *end;
  *out = strtod(cell, &end);
  return end != cell && !strpbrk(cell, "xX") && !*(end + strspn(end, " \t")) && isfinite((float)*out);
}

// A number as people write it, but not we: with a decimal comma or commas for thousands, or a percentage with a point.
static bool is_written_number(const char *cell) {
  static const char digits[] = "0123456789";
  const char *p = cell + strspn(cell, " \t");
  p += *p == '-' || *p == '+';
  if (!*p || !strchr(digits, *p))
    return false;
  bool odd = false, point = false;
  for (; *p && strchr("0123456789.' ", *p); p++)
    point |= *p == '.';
  if (*p == ',') {
    size_t n = strspn(p + 1, digits);
    n += p[1 + n] == '.' ? 1 + strspn(p + 2 + n, digits) : 0;
    odd = n > 0;
    p += 1 + n;
  }
  p += strspn(p, " \t");
  odd |= point && *p == '%';
  p += *p == '%';
  return odd && !p[strspn(p, " \t")];
}

typedef struct kind {
  bool lists, numbers, fraction, bits;
  size_t n_cells, n_numbers;  // also of those that only people read
  const ig_candidate *odd;    // the first whose cell is no number to us
} kind;

// What the cells of all rows allow.
static kind look(const ig_builder *b) {
  kind k = {.numbers = true, .bits = true};
  for (size_t i = 0; i < b->n; i++) {
    const char *cell = b->items[i].cells;
    for (size_t c = 0; cell && c < b->n_columns; c++, cell += strlen(cell) + 1) {
      double x;
      bool is_number = number_of(cell, &x);
      const bool written = !is_number && is_written_number(cell);
      k.lists |= strchr(cell, ';') != NULL;
      k.numbers &= is_number;
      k.fraction |= written || (is_number && x != floor(x));
      k.n_cells++;
      k.n_numbers += is_number || written;
      if (!is_number && !k.odd)
        k.odd = &b->items[i];
      k.bits &= is_number && (x == 0 || x == 1);
    }
  }
  return k;
}

// A column of numbers is not a class for every number because one cell is none, or because they have decimal commas.
static ig_status check_numbers(const ig_builder *b, const kind *k) {
  if (b->n_columns > 1 || k->lists || k->numbers || !k->fraction || 2 * k->n_numbers <= k->n_cells)
    return IG_OK;
  ig_status refusal = fail_cell(b, k->odd, 0, k->odd->cells,
                                "a number such as 0.5, as most cells of this column are numbers; correct it, or say "
                                "task=classify");
  if (!b->options->inspect)
    return refusal;
  ig_builder_warn(b, "%s", ig_error_message());
  ig_error_clear();
  return IG_OK;
}

ig_status ig_decide_task(ig_builder *b) {
  ig_dataset *d = b->d;
  d->task = b->options->task;
  if (b->n && b->items[0].text.words)
    d->task = IG_TASK_TAG;
  if (d->task == IG_TASK_TAG)
    return IG_OK;
  if (b->n_columns == 0) {
    if (b->options->text && (d->task == IG_TASK_REGRESS || d->task == IG_TASK_MULTILABEL))
      return ig_fail(IG_ERR_DATA, "task=%s needs a table (.csv, .tsv, .jsonl) with columns of its %s; %s has none",
                     ig_task_name(d->task), d->task == IG_TASK_REGRESS ? "numbers" : "labels", d->path);
    if (d->task == IG_TASK_REGRESS || d->task == IG_TASK_MULTILABEL)
      return ig_fail(IG_ERR_DATA,
                     "task=%s needs split=FILE.csv with a column file and the columns of its %s; %s has none",
                     ig_task_name(d->task), d->task == IG_TASK_REGRESS ? "numbers" : "labels", d->path);
    d->task = IG_TASK_CLASSIFY;
    return IG_OK;
  }
  if (d->task == IG_TASK_AUTO) {
    kind k = look(b);
    IG_TRY(check_numbers(b, &k));
    d->task = b->n_columns > 1          ? (k.bits ? IG_TASK_MULTILABEL : IG_TASK_REGRESS)
              : k.lists                 ? IG_TASK_MULTILABEL
              : k.numbers && k.fraction ? IG_TASK_REGRESS
                                        : IG_TASK_CLASSIFY;
    if (d->task != IG_TASK_CLASSIFY)
      ig_builder_warn(b, "task=%s, by the cells of %s (column %s); task= says otherwise", ig_task_name(d->task),
                      table_of(b), b->columns[0]);
  }
  if (d->task != IG_TASK_CLASSIFY)
    return IG_OK;
  if (b->n_columns > 1)
    return ig_fail(IG_ERR_USAGE, "task=classify takes one label_column; %zu were found", b->n_columns);
  for (size_t i = 0; i < b->n; i++) {
    b->items[i].class_name = b->items[i].cells;
    if (!*b->items[i].cells)
      return fail_cell(b, &b->items[i], 0, "", "a class");
  }
  return IG_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// Next name of a list; false at its end. Empty names are passed over.
static bool next_name(const char **at, const char **from, size_t *n) {
  while (**at) {
    const char *end = *at + strcspn(*at, ";"), *start = *at + strspn(*at, " \t");
    *at = *end ? end + 1 : end;
    end = trimmed_end(start, end);
    if (end > start) {
      *from = start;
      *n = (size_t)(end - start);
      return true;
    }
  }
  return false;
}

// The name of a label becomes part of the weights, so that it must be UTF-8.
static ig_status check_column_name(const ig_builder *b, size_t column) {
  char q[IG_QUOTE_BYTES];
  if (ig_is_utf8(b->columns[column]))
    return IG_OK;
  return ig_tell_not_utf8(
      b, ig_fail(IG_ERR_FORMAT, "%s: the name of column %zu, %s, is not UTF-8; save the file as UTF-8",
                 b->csv || b->n == 0 ? table_of(b) : b->items[0].sample.path,
                 b->n ? b->items[0].columns[column] + 1 : column + 1, ig_quote(q, b->columns[column])));
}

static ig_status check_label(const ig_builder *b, const ig_candidate *item, const char *name) {
  char q[IG_QUOTE_BYTES];
  if (ig_is_utf8(name))
    return IG_OK;
  return ig_tell_not_utf8(
      b, ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: label %s is not UTF-8; save the file as UTF-8",
                 b->csv ? b->csv : item->sample.path, item->row, item->columns[0] + 1, ig_quote(q, name)));
}

// Names of all labels: those of the weights, the columns, or what stands in the lists.
static ig_status name_targets(ig_builder *b, bool lists) {
  ig_dataset *d = b->d;
  const ig_dataset_options *o = b->options;
  const char **names = NULL, *text;
  size_t n = 0, capacity = 0, kept = 0, length;
  ig_status status = IG_OK;
  if (o->classes || !lists) {
    n = o->classes ? (size_t)o->n_classes : b->n_columns;
    IG_GOTO(ig_grow(&names, &capacity, 0, n, sizeof *names, "names of targets"));
    for (size_t i = 0; i < n; i++) {
      text = o->classes ? o->classes[i] : b->columns[i];
      if (!o->classes)
        IG_GOTO(check_column_name(b, i));
      IG_GOTO(ig_dataset_text(d, text, strlen(text), &names[i]));
    }
    if (!lists && n != b->n_columns)
      IG_GOTO(ig_fail(IG_ERR_MISMATCH, "%s: %zu %s of targets found, the weights have %zu", table_of(b), b->n_columns,
                      ig_plural(b->n_columns, "column", "columns"), n));
  } else {
    for (size_t i = 0; i < b->n; i++)
      for (const char *at = b->items[i].cells; next_name(&at, &text, &length);) {
        IG_GOTO(ig_grow(&names, &capacity, n, n + 1, sizeof *names, "names of labels"));
        IG_GOTO(ig_dataset_text(d, text, length, &names[n++]));
        IG_GOTO(check_label(b, &b->items[i], names[n - 1]));
      }
    if (n)
      qsort((void *)names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
      if (kept == 0 || strcmp(names[kept - 1], names[i]))
        names[kept++] = names[i];
    n = kept;
    ig_order_names(b, names, n);
  }
  if (!o->classes && o->n_classes && n != (size_t)o->n_classes)
    IG_GOTO(ig_fail(IG_ERR_MISMATCH, "%s: found %zu %s; the weights have %d and name none of them", table_of(b), n,
                    d->task == IG_TASK_REGRESS ? ig_plural(n, "column of numbers", "columns of numbers")
                                               : ig_plural(n, "label", "labels"),
                    o->n_classes));
  if (n == 0 || n > MAX_LABELS)
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s: %zu labels in column %s; 1 to %d are possible", table_of(b), n, b->columns[0],
                    MAX_LABELS));
  IG_GOTO(ig_alloc_array(n, sizeof *d->classes, "names of targets", &d->classes));
  for (size_t i = 0; i < n; i++)
    d->classes[i] = (char *)names[i];
  d->n_classes = (int)n;
done:
  ig_free(names);
  return status;
}

static ig_status read_list(const ig_builder *b, const ig_candidate *item, float *to) {
  const ig_dataset *d = b->d;
  const char *text;
  size_t length;
  for (const char *at = item->cells; next_name(&at, &text, &length);) {
    int c = 0;
    while (c < d->n_classes && (strncmp(d->classes[c], text, length) || d->classes[c][length]))
      c++;
    if (c == d->n_classes)
      return fail_cell(b, item, 0, item->cells, "labels that the weights know");
    to[c] = 1;
  }
  return IG_OK;
}

static ig_status read_numbers(const ig_builder *b, const ig_candidate *item, float *to) {
  bool bits = b->d->task == IG_TASK_MULTILABEL;
  const char *cell = item->cells;
  for (size_t c = 0; c < b->n_columns; c++, cell += strlen(cell) + 1) {
    double x;
    if (!number_of(cell, &x))
      return fail_cell(b, item, c, cell,
                       bits                      ? "0 or 1"
                       : is_written_number(cell) ? "a finite number such as 0.5"
                                                 : "a finite number");
    if (bits && x != 0 && x != 1)
      return fail_cell(b, item, c, cell, "0 or 1");
    to[c] = (float)x;
  }
  return IG_OK;
}

// What does not vary in training cannot be learned.
static ig_status check_targets(const ig_builder *b) {
  const ig_dataset *d = b->d;
  size_t k = (size_t)d->n_classes;
  char q[IG_QUOTE_BYTES];
  for (size_t c = 0; c < k; c++) {
    const float *first = NULL;
    bool varies = false;
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
      if (b->items[i].part != IG_PART_TRAIN && b->items[i].part != IG_PART_NONE)
        continue;
      const float *x = &d->targets[i * k + c];
      first = first ? first : x;
      varies |= *x != *first;
      n++;
    }
    if (n && !varies)
      return ig_fail(IG_ERR_DATA, "%s: %s is %g in all %zu training %s: there is nothing to learn; %s", table_of(b),
                     ig_quote(q, d->classes[c]), (double)*first, n, ig_plural(n, "sample", "samples"),
                     d->task == IG_TASK_REGRESS ? "leave it out by label_column=" : "add samples of the other kind");
  }
  return IG_OK;
}

// Numbers of many digits that differ in the last ones alone (times in seconds, dates) would be rounded to each other.
static ig_status check_digits(const ig_builder *b, size_t column) {
  double low = INFINITY, high = -INFINITY, worst = 0;
  char q[IG_QUOTE_BYTES];
  for (size_t i = 0; i < b->n; i++) {
    const char *cell = b->items[i].cells;
    double x;
    for (size_t c = 0; c < column; c++)
      cell += strlen(cell) + 1;
    number_of(cell, &x);
    low = fmin(low, x);
    high = fmax(high, x);
    worst = fmax(worst, fabs(x - (double)(float)x));
  }
  if (worst <= 1e-3 * (high - low) || high == low)  // the same number in all: check_targets() tells
    return IG_OK;
  return ig_fail(
      IG_ERR_DATA,
      "%s: %s goes from %.17g to %.17g: in fp32, as numbers are learned, they would be rounded by up to %.3g; "
      "subtract %.17g from all",
      table_of(b), ig_quote(q, b->columns[column]), low, high, worst, low);
}

typedef struct ranked {
  float value;
  size_t item;
} ranked;

static int by_value(const void *pa, const void *pb) {
  const ranked *a = pa, *b = pb;
  return a->value != b->value ? (a->value > b->value) - (a->value < b->value)
                              : (a->item > b->item) - (a->item < b->item);
}

// regress: fifths by the first number; multilabel: the rarest label that holds, and one for those without.
static ig_status set_strata(ig_builder *b) {
  const ig_dataset *d = b->d;
  size_t k = (size_t)d->n_classes, *counts = NULL;
  ranked *order = NULL;
  ig_status status = IG_OK;
  if (d->task == IG_TASK_REGRESS) {
    size_t strata = b->n / STRATUM_SAMPLES;
    b->n_strata = strata < 1 ? 1 : strata > STRATA ? STRATA : (int)strata;
    IG_GOTO(ig_alloc_array(b->n, sizeof *order, "ranks of targets", &order));
    for (size_t i = 0; i < b->n; i++)
      order[i] = (ranked){d->targets[i * k], i};
    qsort(order, b->n, sizeof *order, by_value);
    for (size_t i = 0; i < b->n; i++)
      b->items[order[i].item].stratum = (int)(i * (size_t)b->n_strata / b->n);
    goto done;
  }
  IG_GOTO(ig_alloc_array(k + 1, sizeof *counts, "counts of labels", &counts));
  for (size_t i = 0; i < b->n * k; i++)
    counts[i % k] += d->targets[i] > 0.5f;
  counts[k] = SIZE_MAX;
  b->n_strata = (int)k + 1;
  for (size_t i = 0; i < b->n; i++) {
    b->items[i].stratum = (int)k;
    for (size_t c = 0; c < k; c++)
      if (d->targets[i * k + c] > 0.5f && counts[c] < counts[b->items[i].stratum])
        b->items[i].stratum = (int)c;
  }
done:
  ig_free(order);
  ig_free(counts);
  return status;
}

ig_status ig_set_targets(ig_builder *b) {
  ig_dataset *d = b->d;
  bool lists = d->task == IG_TASK_MULTILABEL && b->n_columns == 1;
  double x;
  // One column of 0 and 1 alone is a label of its own, not a list with the names "0" and "1".
  if (lists) {
    lists = false;
    for (size_t i = 0; i < b->n && !lists; i++)
      lists = !number_of(b->items[i].cells, &x) || (x != 0 && x != 1);
  }
  IG_TRY(name_targets(b, lists));
  IG_TRY(ig_alloc_array(b->n, (size_t)d->n_classes * sizeof *d->targets, "targets", &d->targets));
  for (size_t i = 0; i < b->n; i++) {
    float *to = d->targets + i * (size_t)d->n_classes;
    b->items[i].sample.label = -1;
    IG_TRY(lists ? read_list(b, &b->items[i], to) : read_numbers(b, &b->items[i], to));
  }
  for (size_t c = 0; c < b->n_columns && d->task == IG_TASK_REGRESS && !b->options->allow_one_class; c++)
    IG_TRY(check_digits(b, c));
  if (!b->options->allow_one_class)
    IG_TRY(check_targets(b));
  return set_strata(b);
}
