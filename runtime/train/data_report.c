// The page of `ingot data`. Rule: what a person must decide on is shown as pictures; lists that are cut say so.
#include "runtime/train/data_report.h"

#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/train/report_internal.h"

enum {
  MAX_GROUPS = 40,
  MAX_MEMBERS = 8,
  MAX_ODD = 24,
  MAX_SUSPECTS = 48,
  MAX_FILES = 200,
  MAX_CLASSES = 200,
  MAX_VALUES = 12
};

static const char *class_name(const ig_dataset *d, int32_t label) {
  return label >= 0 && label < d->n_classes ? d->classes[label] : "no label";
}

// The picture, or the reason why it is not there.
static ig_status picture(ig_text *t, const ig_quality *q, size_t sample) {
  const ig_sample *s = &q->data->samples[sample];
  const report_run no_run = {0};
  ig_text url = {0};
  char *path = NULL;
  int w, h;
  ig_status status = IG_OK;
  if (s->record >= 0)
    IG_TRY(ig_asprintf(&path, "%s:%lld", s->path, (long long)s->record));
  if (ig_report_thumb(&no_run, path ? path : s->path, &url, &w, &h) == IG_OK) {
    IG_GOTO(ig_text_addf(t, "<img width=%d height=%d loading=lazy src=\"", w, h));
    IG_GOTO(ig_text_add(t, url.data, url.n));
    IG_GOTO(ig_report_wrap(t, "\" alt=\"", s->name, "\">"));
  } else {
    IG_GOTO(ig_report_wrap(t, "<div class=none>", ig_error_message(), "</div>"));
  }
done:
  ig_free(path);
  ig_free(url.data);
  return status;
}

static ig_status caption(ig_text *t, const ig_quality *q, size_t sample) {
  const ig_sample *s = &q->data->samples[sample];
  IG_TRY(ig_report_wrap(t, "<figcaption><bdi>", s->name, "</bdi><br><span class=soft>"));
  IG_TRY(ig_report_wrap(t, "", ig_part_name(s->part), ", "));
  return ig_report_wrap(t, "<bdi>", class_name(q->data, s->label), "</bdi></span>");
}

static ig_status lead(ig_text *t, const ig_quality *q) {
  static const char *const word[IG_N_SEVERITIES] = {"Serious", "With care", "Note"};
  static const char *const colour[IG_N_SEVERITIES] = {"bad", "care", "soft"};
  const ig_dataset *d = q->data;
  IG_TRY(ig_text_addf(t,
                      "<div class=lead><div class=big>%zu %s</div><p class=soft>%d %s; train %zu, val %zu%s, "
                      "test %zu",
                      d->n, ig_plural(d->n, "picture", "pictures"), d->n_classes, ig_quality_classes_noun(d),
                      d->count[IG_PART_TRAIN], d->count[IG_PART_VAL],
                      !d->val_was_given && d->count[IG_PART_VAL] ? " (held out by training)" : "",
                      d->count[IG_PART_TEST]));
  IG_TRY(ig_text_addf(t, "</p><p class=\"verdict %s\">%s</p>\n",
                      q->n_severity[IG_SEVERITY_SERIOUS] ? "bad"
                      : q->n_severity[IG_SEVERITY_CARE]  ? "care"
                                                         : "good",
                      q->n_severity[IG_SEVERITY_SERIOUS] ? "There are findings that spoil a result."
                      : q->n_severity[IG_SEVERITY_CARE]  ? "Usable; some things deserve a look."
                                                         : "Nothing that would spoil a result was found."));
  for (int s = 0; s < IG_N_SEVERITIES; s++) {
    if (q->n_severity[s] == 0)
      continue;
    IG_TRY(ig_text_addf(t, "<h2 class=%s>%s</h2><ul>\n", colour[s], word[s]));
    for (size_t i = 0; i < q->n_findings; i++)
      if ((int)q->findings[i].severity == s)
        IG_TRY(ig_report_wrap(t, "<li>", q->findings[i].text, "</li>\n"));
    IG_TRY(ig_text_addf(t, "</ul>\n"));
  }
  return ig_text_addf(t, "</div>\n");
}

static ig_status classes(ig_text *t, const ig_dataset *d) {
  ig_status status = IG_OK;
  int64_t *n, most = 1;
  if (d->n_classes == 0 || d->task == IG_TASK_REGRESS)
    return IG_OK;
  IG_TRY(ig_alloc_array((size_t)d->n_classes * (IG_N_PARTS + 1), sizeof *n, "class counts", &n));
  for (int p = 0; p <= IG_N_PARTS; p++)
    ig_dataset_class_counts(d, (ig_part)p, n + p * d->n_classes);
  for (int c = 0; c < d->n_classes; c++)
    most = n[3 * d->n_classes + c] > most ? n[3 * d->n_classes + c] : most;
  IG_GOTO(ig_text_addf(t,
                       "<h2>Each %s</h2><div class=scroll><table><thead><tr><th>Class</th><th class=n>All</th>"
                       "<th class=n>Train</th><th class=n>Val</th><th class=n>Test</th><th></th></tr></thead><tbody>\n",
                       d->task == IG_TASK_MULTILABEL ? "label" : "class"));
  for (int c = 0; c < d->n_classes && c < MAX_CLASSES; c++) {
    IG_GOTO(ig_report_wrap(t, "<tr><th scope=row><bdi>", d->classes[c], "</bdi></th>"));
    IG_GOTO(ig_text_addf(t,
                         "<td class=n>%lld</td><td class=n>%lld</td><td class=n>%lld</td><td class=n>%lld</td>"
                         "<td style=\"width:9rem;min-width:5rem\"><div style=\"height:.6rem;margin-top:.45rem;"
                         "border-radius:3px;background:var(--accent);width:%.1f%%\"></div></td></tr>\n",
                         (long long)n[3 * d->n_classes + c], (long long)n[c], (long long)n[d->n_classes + c],
                         (long long)n[2 * d->n_classes + c], 100 * (double)n[3 * d->n_classes + c] / (double)most));
  }
  IG_GOTO(ig_text_addf(t, "</tbody></table></div>\n"));
  if (d->n_classes > MAX_CLASSES)
    IG_GOTO(ig_text_addf(t, "<p class=soft>The first %d of %d classes.</p>\n", MAX_CLASSES, d->n_classes));
done:
  ig_free(n);
  return status;
}

static ig_status group(ig_text *t, const ig_quality *q, const ig_quality_group *g) {
  bool several = (g->parts & (g->parts - 1)) != 0;
  IG_TRY(ig_text_addf(t, "<div class=card style=\"margin-bottom:1rem\"><h3>%zu times %s%s%s</h3><div class=shots>\n",
                      g->n,
                      g->kind == IG_SAME_BYTES    ? "the same file"
                      : g->kind == IG_SAME_PIXELS ? "the same pixels"
                                                  : "nearly the same",
                      several ? ", <span class=bad>in several parts</span>" : "",
                      g->labels_differ ? ", <span class=bad>with different labels</span>" : ""));
  for (size_t i = 0; i < g->n && i < MAX_MEMBERS; i++) {
    const ig_quality_member *m = &q->members[g->first + i];
    IG_TRY(ig_text_addf(t, "<figure>"));
    IG_TRY(picture(t, q, m->sample));
    IG_TRY(caption(t, q, m->sample));
    if (g->kind == IG_NEARLY_SAME && i > 0) {
      IG_TRY(ig_report_wrap(t, "<br>as <bdi>", q->data->samples[m->like].name, "</bdi>"));
      if (m->turn)
        IG_TRY(ig_text_addf(t, " %s", ig_quality_turn_name(m->turn)));
      IG_TRY(ig_text_addf(t, ", differs by %.0f %%", 100 * (double)m->difference));
    }
    IG_TRY(ig_text_addf(t, "</figcaption></figure>\n"));
  }
  IG_TRY(ig_text_addf(t, "</div>"));
  if (g->n > MAX_MEMBERS)
    IG_TRY(ig_text_addf(t, "<p class=soft>and %zu more</p>", g->n - MAX_MEMBERS));
  return ig_text_addf(t, "</div>\n");
}

static ig_status cut(ig_text *t, size_t n, size_t shown, const char *what) {
  return n > shown
             ? ig_text_addf(t, "<p class=soft>The first %zu of %zu %s; all: ingot data --json.</p>\n", shown, n, what)
             : IG_OK;
}

static ig_status groups(ig_text *t, const ig_quality *q) {
  if (q->n_groups == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Equal pictures</h2>\n"));
  for (size_t i = 0; i < q->n_groups && i < MAX_GROUPS; i++)
    IG_TRY(group(t, q, &q->groups[i]));
  return cut(t, q->n_groups, MAX_GROUPS, "groups");
}

static ig_status suspects(ig_text *t, const ig_quality *q) {
  if (q->n_suspects == 0)
    return IG_OK;
  IG_TRY(
      ig_text_addf(t,
                   "<h2>Suspicious labels</h2><p class=soft>What the model says against the label, the surest first. "
                   "In the training part it may only repeat what it was told.</p><div class=shots>\n"));
  for (size_t i = 0; i < q->n_suspects && i < MAX_SUSPECTS; i++) {
    const ig_quality_suspect *x = &q->suspects[i];
    const ig_sample *s = &q->data->samples[x->sample];
    IG_TRY(ig_text_addf(t, "<figure>"));
    IG_TRY(picture(t, q, x->sample));
    IG_TRY(ig_report_wrap(t, "<figcaption>Labelled <b><bdi>", class_name(q->data, s->label), "</bdi></b>"));
    IG_TRY(ig_report_wrap(t, ", said <b><bdi>", class_name(q->data, x->said), "</bdi></b>"));
    IG_TRY(ig_text_addf(t, " (%.0f %% against %.0f %%)", 100 * (double)x->p_said, 100 * (double)x->p_label));
    IG_TRY(ig_report_wrap(t, "<br><span class=soft><bdi>", s->name, "</bdi>, "));
    IG_TRY(ig_text_addf(t, "%s</span></figcaption></figure>\n", ig_part_name(s->part)));
  }
  IG_TRY(ig_text_addf(t, "</div>\n"));
  return cut(t, q->n_suspects, MAX_SUSPECTS, "pictures");
}

static ig_status odd(ig_text *t, const ig_quality *q) {
  if (q->n_odd == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Odd pictures</h2><div class=shots>\n"));
  for (size_t i = 0; i < q->n_odd && i < MAX_ODD; i++) {
    const ig_quality_picture *p = &q->pictures[q->odd[i].sample];
    IG_TRY(ig_text_addf(t, "<figure>"));
    IG_TRY(picture(t, q, q->odd[i].sample));
    IG_TRY(caption(t, q, q->odd[i].sample));
    IG_TRY(ig_text_addf(t, "<br>%s: mean %.0f, contrast %.1f of 255</figcaption></figure>\n",
                        ig_oddity_name(q->odd[i].oddity), (double)p->mean, (double)p->contrast));
  }
  IG_TRY(ig_text_addf(t, "</div>\n"));
  return cut(t, q->n_odd, MAX_ODD, "pictures");
}

static ig_status unreadable(ig_text *t, const ig_quality *q) {
  size_t n = q->n_skipped + q->data->n - q->n_readable, shown = 0;
  if (n == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Unreadable files</h2><table><tbody>\n"));
  for (size_t i = 0; i < q->n_skipped && shown < MAX_FILES; i++, shown++)
    IG_TRY(ig_report_row(t, q->skipped[i].name, q->skipped[i].reason));
  for (size_t i = 0; i < q->data->n && shown < MAX_FILES; i++)
    if (q->pictures[i].reason) {
      IG_TRY(ig_report_row(t, q->data->samples[i].name, q->pictures[i].reason));
      shown++;
    }
  IG_TRY(ig_text_addf(t, "</tbody></table>\n"));
  return cut(t, n, MAX_FILES, "files");
}

static ig_status torn(ig_text *t, const ig_quality *q) {
  if (q->n_torn == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(
      t,
      "<h2>Groups in two parts</h2><div class=scroll><table><thead><tr><th>Group</th><th class=n>Train</th>"
      "<th class=n>Val</th><th class=n>Test</th></tr></thead><tbody>\n"));
  for (size_t i = 0; i < q->n_torn && i < MAX_FILES; i++) {
    IG_TRY(ig_report_wrap(t, "<tr><th scope=row><bdi>", q->torn[i].group, "</bdi></th>"));
    IG_TRY(ig_text_addf(t, "<td class=n>%zu</td><td class=n>%zu</td><td class=n>%zu</td></tr>\n",
                        q->torn[i].count[IG_PART_TRAIN], q->torn[i].count[IG_PART_VAL],
                        q->torn[i].count[IG_PART_TEST]));
  }
  IG_TRY(ig_text_addf(t, "</tbody></table></div>\n"));
  return cut(t, q->n_torn, MAX_FILES, "groups");
}

static ig_status properties(ig_text *t, const ig_quality *q) {
  char text[32];
  IG_TRY(ig_text_addf(t, "<h2>Files</h2><table><tbody>\n"));
  for (size_t i = 0, shown = 0; i < q->n_values; i++) {
    const ig_quality_value *v = &q->values[i];
    bool first = i == 0 || q->values[i - 1].property != v->property;
    if (first) {
      IG_TRY(ig_report_wrap(t, i ? "</td></tr>\n<tr><th scope=row>" : "<tr><th scope=row>",
                            ig_property_name(v->property), "</th><td>"));
      shown = 0;
    }
    if (shown < MAX_VALUES)
      IG_TRY(ig_text_addf(t, "%s%s (%zu)", first ? "" : ", ", ig_quality_value_text(text, v), v->n));
    else if (shown == MAX_VALUES)
      IG_TRY(ig_text_addf(t, ", ..."));
    shown++;
  }
  return ig_text_addf(t, "%s</tbody></table>\n", q->n_values ? "</td></tr>\n" : "");
}

static ig_status foot(ig_text *t, const ig_quality *q) {
  return ig_text_addf(
      t,
      "<h2>How this was found</h2><p>Every file was decoded as training does. The same file and the same pixels: equal "
      "SHA-256. Nearly the same: perceptual hashes within %d of 64 bits, as the pictures are or mirrored or turned, "
      "then "
      "their pixels at 64 x 64 in grey, after the best brightness and contrast, within %.0f %% of the contrast in all "
      "and "
      "%.0f %% in the worst of 64 fields. Shifted, strongly cut or freely rotated copies are not found.</p>\n"
      "<footer>Written by ingot data in %.1f s; %zu of %zu %s read. Nothing of the data was changed.</footer>\n"
      "</main></body></html>\n",
      IG_QUALITY_HASH_BITS, 100 * (double)IG_QUALITY_DIFFERENCE, 100 * (double)IG_QUALITY_LOCAL, q->seconds,
      q->n_readable, q->data->n + q->n_skipped, ig_plural(q->data->n + q->n_skipped, "file", "files"));
}

ig_status ig_data_report_write(const ig_quality *q, const char *path, const char *out) {
  ig_status status = IG_OK;
  ig_text t = {0};
  char *title = NULL;
  IG_GOTO(ig_asprintf(&title, "Data: %s", path));
  IG_GOTO(ig_report_page_begin(&t, title));
  IG_GOTO(ig_report_wrap(&t, "<h1>Quality of <bdi>", path, "</bdi></h1>\n"));
  IG_GOTO(lead(&t, q));
  IG_GOTO(classes(&t, q->data));
  IG_GOTO(unreadable(&t, q));
  IG_GOTO(torn(&t, q));
  IG_GOTO(groups(&t, q));
  IG_GOTO(suspects(&t, q));
  IG_GOTO(odd(&t, q));
  IG_GOTO(properties(&t, q));
  IG_GOTO(foot(&t, q));
  IG_GOTO(ig_file_write_atomic(out, t.data, t.n));
done:
  ig_free(title);
  ig_free(t.data);
  return status;
}
