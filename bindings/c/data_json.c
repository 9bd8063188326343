// JSON and text of the quality report. Rule: see data_json.h.
#include "bindings/c/data_json.h"

#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/mem.h"

// The file, or "file:record".
static json_t *path_of(const ig_sample *s) {
  if (s->record < 0)
    return ig_json_text(s->path);
  char *text;
  if (ig_asprintf(&text, "%s:%lld", s->path, (long long)s->record) != IG_OK)
    return NULL;
  json_t *j = ig_json_text(text);
  ig_free(text);
  return j;
}

static json_t *label_of(const ig_dataset *d, int32_t label) {
  return label >= 0 && label < d->n_classes ? ig_json_text(d->classes[label]) : json_null();
}

bool ig_json_push(json_t *list, json_t *item) { return item && json_array_append_new(list, item) == 0; }

static bool add_classes(const ig_dataset *d, json_t *list) {
  int64_t *n;
  bool ok = true;
  if (d->task == IG_TASK_REGRESS)
    return true;
  if (ig_alloc_array((size_t)d->n_classes * (IG_N_PARTS + 1), sizeof *n, "class counts", &n) != IG_OK)
    return false;
  for (int p = 0; p <= IG_N_PARTS; p++)
    ig_dataset_class_counts(d, (ig_part)p, n + p * d->n_classes);
  for (int c = 0; c < d->n_classes && ok; c++)
    ok = ig_json_push(list, json_pack("{s:o, s:I, s:I, s:I, s:I}", "class", ig_json_text(d->classes[c]), "train",
                                      (json_int_t)n[c], "val", (json_int_t)n[d->n_classes + c], "test",
                                      (json_int_t)n[2 * d->n_classes + c], "all", (json_int_t)n[3 * d->n_classes + c]));
  ig_free(n);
  return ok;
}

static bool add_findings(const ig_quality *q, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < q->n_findings && ok; i++) {
    const ig_quality_finding *f = &q->findings[i];
    ok = ig_json_push(list, json_pack("{s:s, s:s, s:I, s:o}", "severity", ig_severity_name(f->severity), "code",
                                      f->code, "count", (json_int_t)f->count, "text", ig_json_text(f->text)));
  }
  return ok;
}

static bool add_unreadable(const ig_quality *q, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < q->n_skipped && ok; i++)
    ok = ig_json_push(list, json_pack("{s:o, s:o}", "path", ig_json_text(q->skipped[i].name), "reason",
                                      ig_json_text(q->skipped[i].reason)));
  for (size_t i = 0; i < q->data->n && ok; i++)
    if (q->pictures[i].reason)
      ok = ig_json_push(list, json_pack("{s:o, s:o}", "path", path_of(&q->data->samples[i]), "reason",
                                        ig_json_text(q->pictures[i].reason)));
  return ok;
}

// Each label of the group once, in the order of appearance.
static bool add_labels(const ig_quality *q, const ig_quality_group *g, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < g->n && ok; i++) {
    int32_t label = q->data->samples[q->members[g->first + i].sample].label;
    bool known = label < 0;
    for (size_t k = 0; k < i && !known; k++)
      known = q->data->samples[q->members[g->first + k].sample].label == label;
    if (!known)
      ok = ig_json_push(list, label_of(q->data, label));
  }
  return ok;
}

static bool add_groups(const ig_quality *q, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < q->n_groups && ok; i++) {
    const ig_quality_group *g = &q->groups[i];
    json_t *parts = json_array(), *labels = json_array(), *pictures = json_array();
    ok = add_labels(q, g, labels);
    for (int p = 0; p < IG_N_PARTS && ok; p++)
      if (g->parts & 1u << p)
        ok = ig_json_push(parts, json_string(ig_part_name((ig_part)p)));
    for (size_t k = 0; k < g->n && ok; k++) {
      const ig_quality_member *m = &q->members[g->first + k];
      const ig_sample *s = &q->data->samples[m->sample];
      ok = ig_json_push(
          pictures, json_pack("{s:o, s:s, s:o, s:o, s:s, s:f}", "path", path_of(s), "part", ig_part_name(s->part),
                              "label", label_of(q->data, s->label), "like", path_of(&q->data->samples[m->like]), "turn",
                              ig_quality_turn_name(m->turn), "difference", (double)m->difference));
    }
    // json_pack takes the three lists even where it fails.
    ok = ig_json_push(list, json_pack("{s:s, s:o, s:o, s:o}", "kind", ig_likeness_name(g->kind), "parts", parts,
                                      "labels", labels, "pictures", pictures)) &&
         ok;
  }
  return ok;
}

static bool add_odd(const ig_quality *q, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < q->n_odd && ok; i++) {
    const ig_quality_picture *p = &q->pictures[q->odd[i].sample];
    ok = ig_json_push(
        list, json_pack("{s:o, s:s, s:f, s:f}", "path", path_of(&q->data->samples[q->odd[i].sample]), "why",
                        ig_oddity_name(q->odd[i].oddity), "mean", (double)p->mean, "contrast", (double)p->contrast));
  }
  return ok;
}

static bool add_torn(const ig_quality *q, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < q->n_torn && ok; i++) {
    const ig_quality_torn *t = &q->torn[i];
    ok = ig_json_push(list, json_pack("{s:o, s:I, s:I, s:I}", "group", ig_json_text(t->group), "train",
                                      (json_int_t)t->count[IG_PART_TRAIN], "val", (json_int_t)t->count[IG_PART_VAL],
                                      "test", (json_int_t)t->count[IG_PART_TEST]));
  }
  return ok;
}

static bool add_values(const ig_quality *q, ig_property property, json_t *list) {
  bool ok = true;
  char text[32];
  for (size_t i = 0; i < q->n_values && ok; i++)
    if (q->values[i].property == property)
      ok = ig_json_push(list, json_pack("{s:s, s:I}", "value", ig_quality_value_text(text, &q->values[i]), "pictures",
                                        (json_int_t)q->values[i].n));
  return ok;
}

// The text of a sample, a pair with a bar between; cut at a character.
static json_t *text_of(const ig_text_sample *s) {
  enum { MOST = 300 };
  ig_text t = {0};
  json_t *j = NULL;
  if (ig_text_addf(&t, "%.*s%s%.*s", (int)(s->n_first < MOST ? s->n_first : MOST), s->n_first ? s->first : "",
                   s->n_second ? " | " : "", (int)(s->n_second < MOST ? s->n_second : MOST),
                   s->n_second ? s->second : "") == IG_OK)
    j = ig_json_text(t.data);
  ig_free(t.data);
  return j;
}

bool ig_data_suspects(const ig_dataset *d, const ig_quality_suspect *suspects, size_t n, json_t *list) {
  bool ok = true;
  for (size_t i = 0; i < n && ok; i++) {
    const ig_quality_suspect *x = &suspects[i];
    const ig_sample *s = &d->samples[x->sample];
    json_t *row =
        json_pack("{s:o, s:s, s:o, s:o, s:f, s:f, s:b}", "path", d->texts ? ig_json_text(s->name) : path_of(s), "part",
                  ig_part_name(s->part), "label", label_of(d, s->label), "said", label_of(d, x->said), "p_label",
                  (double)x->p_label, "p_said", (double)x->p_said, "seen", x->seen);
    ok = ig_json_push(list, row) && (!d->texts || json_object_set_new(row, "text", text_of(&d->texts[x->sample])) == 0);
  }
  return ok;
}

json_t *ig_data_json(const ig_quality *q, const char *path) {
  const ig_dataset *d = q->data;
  json_t *classes = json_array(), *findings = json_array(), *unreadable = json_array(), *groups = json_array(),
         *torn = json_array(), *odd = json_array(), *suspects = json_array(), *values[IG_N_PROPERTIES];
  bool ok = add_classes(d, classes) && add_findings(q, findings) && add_unreadable(q, unreadable) &&
            add_groups(q, groups) && add_torn(q, torn) && add_odd(q, odd) &&
            ig_data_suspects(d, q->suspects, q->n_suspects, suspects);
  for (int p = 0; p < IG_N_PROPERTIES; p++) {
    values[p] = json_array();
    ok = add_values(q, (ig_property)p, values[p]) && ok;
  }
  json_t *object = json_pack(
      "{s:o, s:I, s:I, s:{s:I, s:I, s:I}, s:b, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "path",
      ig_json_text(path), "pictures", (json_int_t)d->n, "readable", (json_int_t)q->n_readable, "parts", "train",
      (json_int_t)d->count[IG_PART_TRAIN], "val", (json_int_t)d->count[IG_PART_VAL], "test",
      (json_int_t)d->count[IG_PART_TEST], "held_out", !d->val_was_given && d->count[IG_PART_VAL] > 0, "classes",
      classes, "serious", (json_int_t)q->n_severity[IG_SEVERITY_SERIOUS], "care",
      (json_int_t)q->n_severity[IG_SEVERITY_CARE], "note", (json_int_t)q->n_severity[IG_SEVERITY_NOTE], "findings",
      findings, "unreadable", unreadable, "duplicates", groups, "groups_in_two_parts", torn, "odd", odd);
  for (int p = 0; p < IG_N_PROPERTIES; p++)
    ok = json_object_set_new(object, ig_property_name((ig_property)p), values[p]) == 0 && ok;
  if (q->asked_model)
    ok = json_object_set_new(object, "suspects", suspects) == 0 && ok;
  else
    json_decref(suspects);
  json_t *rest = json_pack("{s:{s:i, s:f, s:f, s:f, s:f}, s:f, s:f}", "thresholds", "hash_bits", IG_QUALITY_HASH_BITS,
                           "thumb", (double)IG_QUALITY_THUMB, "difference", (double)IG_QUALITY_DIFFERENCE, "local",
                           (double)IG_QUALITY_LOCAL, "plain", IG_QUALITY_PLAIN, "seconds", q->seconds,
                           "pictures_per_second", q->seconds > 0 ? (double)q->n_readable / q->seconds : 0);
  ok = rest && json_object_update_new(object, rest) == 0 && ok;
  if (ok)
    return object;
  json_decref(object);
  return NULL;
}

// ---- Text ----
static const char *class_name(char out[IG_QUOTE_BYTES], const ig_dataset *d, int32_t label) {
  return label >= 0 && label < d->n_classes ? ig_shown(out, d->classes[label]) : "-";
}

static ig_status more(ig_text *t, size_t n, size_t rows) {
  return n > rows ? ig_text_addf(t, "  ... and %zu more: --json, or out=report.html\n", n - rows) : IG_OK;
}

static ig_status text_classes(const ig_dataset *d, ig_text *t) {
  ig_status status = IG_OK;
  int64_t *n;
  char name[IG_QUOTE_BYTES];
  int width = 5;
  IG_TRY(ig_alloc_array((size_t)d->n_classes * (IG_N_PARTS + 1), sizeof *n, "class counts", &n));
  for (int p = 0; p <= IG_N_PARTS; p++)
    ig_dataset_class_counts(d, (ig_part)p, n + p * d->n_classes);
  for (int c = 0; c < d->n_classes; c++) {
    int n_name = (int)strlen(ig_shown(name, d->classes[c]));
    width = n_name > width ? n_name : width;
  }
  IG_GOTO(ig_text_addf(t, "\n%-*s  %8s  %8s  %8s  %8s\n", width, d->task == IG_TASK_MULTILABEL ? "label" : "class",
                       "train", "val", "test", "all"));
  for (int c = 0; c < d->n_classes; c++)
    IG_GOTO(ig_text_addf(t, "%-*s  %8lld  %8lld  %8lld  %8lld\n", width, ig_shown(name, d->classes[c]), (long long)n[c],
                         (long long)n[d->n_classes + c], (long long)n[2 * d->n_classes + c],
                         (long long)n[3 * d->n_classes + c]));
done:
  ig_free(n);
  return status;
}

static ig_status text_groups(const ig_quality *q, size_t rows, ig_text *t) {
  if (q->n_groups == 0)
    return IG_OK;
  char name[IG_QUOTE_BYTES];
  IG_TRY(ig_text_addf(t, "\nequal pictures\n"));
  for (size_t i = 0; i < q->n_groups && i < rows; i++) {
    const ig_quality_group *g = &q->groups[i];
    IG_TRY(ig_text_addf(t, "  %s%s%s\n", ig_likeness_name(g->kind),
                        g->parts & (g->parts - 1) ? ", in several parts" : "",
                        g->labels_differ ? ", labels differ" : ""));
    for (size_t k = 0; k < g->n && k < rows; k++) {
      const ig_quality_member *m = &q->members[g->first + k];
      const ig_sample *s = &q->data->samples[m->sample];
      IG_TRY(ig_text_addf(t, "    %-5s  %s", ig_part_name(s->part), ig_shown(name, s->name)));
      if (g->kind == IG_NEARLY_SAME && k > 0)
        IG_TRY(ig_text_addf(t, "  (%s %s, difference %.2f)", ig_shown(name, q->data->samples[m->like].name),
                            ig_quality_turn_name(m->turn), (double)m->difference));
      IG_TRY(ig_text_add(t, "\n", 1));
    }
    if (g->n > rows)
      IG_TRY(ig_text_addf(t, "    ... and %zu more\n", g->n - rows));
  }
  return more(t, q->n_groups, rows);
}

static ig_status text_unreadable(const ig_quality *q, size_t rows, ig_text *t) {
  size_t n = q->n_skipped + q->data->n - q->n_readable, shown = 0;
  if (n == 0)
    return IG_OK;
  char name[IG_QUOTE_BYTES];
  IG_TRY(ig_text_addf(t, "\nunreadable\n"));
  for (size_t i = 0; i < q->n_skipped && shown < rows; i++, shown++)
    IG_TRY(ig_text_addf(t, "  %s: %s\n", ig_shown(name, q->skipped[i].name), q->skipped[i].reason));
  for (size_t i = 0; i < q->data->n && shown < rows; i++)
    if (q->pictures[i].reason) {
      IG_TRY(ig_text_addf(t, "  %s: %s\n", ig_shown(name, q->data->samples[i].name), q->pictures[i].reason));
      shown++;
    }
  return more(t, n, rows);
}

static ig_status text_odd(const ig_quality *q, size_t rows, ig_text *t) {
  char name[IG_QUOTE_BYTES];
  if (q->n_odd)
    IG_TRY(ig_text_addf(t, "\nodd pictures\n"));
  for (size_t i = 0; i < q->n_odd && i < rows; i++)
    IG_TRY(ig_text_addf(t, "  %-12s  %s\n", ig_oddity_name(q->odd[i].oddity),
                        ig_shown(name, q->data->samples[q->odd[i].sample].name)));
  return more(t, q->n_odd, rows);
}

static ig_status text_suspects(const ig_quality *q, size_t rows, ig_text *t) {
  char name[IG_QUOTE_BYTES], label[IG_QUOTE_BYTES], said[IG_QUOTE_BYTES];
  if (q->n_suspects)
    IG_TRY(ig_text_addf(t, "\nsuspicious labels\n"));
  for (size_t i = 0; i < q->n_suspects && i < rows; i++) {
    const ig_quality_suspect *x = &q->suspects[i];
    const ig_sample *s = &q->data->samples[x->sample];
    IG_TRY(ig_text_addf(t, "  %-5s  %s: labelled %s (%.3f), model says %s (%.3f)\n", ig_part_name(s->part),
                        ig_shown(name, s->name), class_name(label, q->data, s->label), (double)x->p_label,
                        class_name(said, q->data, x->said), (double)x->p_said));
  }
  return more(t, q->n_suspects, rows);
}

ig_status ig_data_text(const ig_quality *q, const char *path, size_t rows, ig_text *t) {
  const ig_dataset *d = q->data;
  char text[32];
  IG_TRY(ig_text_addf(t, "%s: %zu %s (train %zu, val %zu%s, test %zu), %d %s", path, d->n,
                      ig_plural(d->n, "picture", "pictures"), d->count[IG_PART_TRAIN], d->count[IG_PART_VAL],
                      !d->val_was_given && d->count[IG_PART_VAL] ? " held out by training" : "", d->count[IG_PART_TEST],
                      d->n_classes, ig_quality_classes_noun(d)));
  const char *before = "; mostly ";
  for (size_t i = 0; i < q->n_values; i++) {  // the commonest of each property, where most pictures have it
    if (2 * q->values[i].n <= q->n_readable)
      continue;
    IG_TRY(ig_text_addf(t, "%s%s", before, ig_quality_value_text(text, &q->values[i])));
    before = ", ";
  }
  IG_TRY(ig_text_addf(t, "\n\n"));
  if (q->n_findings == 0)
    IG_TRY(ig_text_addf(t, "nothing was found\n"));
  for (size_t i = 0; i < q->n_findings; i++)
    IG_TRY(ig_text_addf(t, "%-8s %s\n", ig_severity_name(q->findings[i].severity), q->findings[i].text));
  if (d->n_classes && d->task != IG_TASK_REGRESS)
    IG_TRY(text_classes(d, t));
  IG_TRY(text_unreadable(q, rows, t));
  IG_TRY(text_groups(q, rows, t));
  IG_TRY(text_odd(q, rows, t));
  IG_TRY(text_suspects(q, rows, t));
  return ig_text_addf(t, "\n%.1f s, %.0f pictures a second\n", q->seconds,
                      q->seconds > 0 ? (double)q->n_readable / q->seconds : 0);
}
