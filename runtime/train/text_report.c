// The page of `ingot data` for texts. Rule: it says what the answer's JSON says; lists that are cut say so.
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/data_report.h"
#include "runtime/train/report_internal.h"

enum { MAX_ROWS = 200, MAX_MEMBERS = 8 };

static const char *word(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "-";
}

static ig_status cut(ig_text *t, size_t n, const char *what) {
  return n > MAX_ROWS
             ? ig_text_addf(t, "<p class=soft>%d of %zu %s are shown; --json has all.</p>\n", MAX_ROWS, n, what)
             : IG_OK;
}

static ig_status lead(ig_text *t, const json_t *r) {
  const json_t *parts = json_object_get(r, "parts"), *findings = json_object_get(r, "findings"), *f;
  size_t i;
  IG_TRY(ig_text_addf(
      t, "<div class=lead><div class=big>%.0f %s</div><p class=soft>train %.0f, val %.0f%s, test %.0f",
      ig_report_number(r, "texts"), ig_plural((unsigned long long)ig_report_number(r, "texts"), "text", "texts"),
      ig_report_number(parts, "train"), ig_report_number(parts, "val"),
      json_is_true(json_object_get(r, "held_out")) ? " (held out by training)" : "", ig_report_number(parts, "test")));
  IG_TRY(ig_report_wrap(t, "; task=", word(r, "task"), "</p>\n<ul>"));
  if (!json_array_size(findings))
    IG_TRY(ig_text_addf(t, "<li>Nothing was found.</li>"));
  json_array_foreach(findings, i, f) {
    const char *severity = word(f, "severity");
    IG_TRY(ig_report_wrap(t,
                          !strcmp(severity, "serious") ? "<li><b class=bad>"
                          : !strcmp(severity, "care")  ? "<li><b class=care>"
                                                       : "<li><b class=soft>",
                          severity, ":</b> "));
    IG_TRY(ig_report_wrap(t, "", word(f, "text"), "</li>\n"));
  }
  return ig_text_addf(t, "</ul></div>\n");
}

// Rows of names or ranges with a number for each part.
static ig_status counts(ig_text *t, const json_t *rows, const char *title, const char *first) {
  const json_t *row;
  size_t i;
  if (!json_array_size(rows))
    return IG_OK;
  IG_TRY(ig_report_wrap(t, "<h2>", title, "</h2><table><thead><tr><th>"));
  IG_TRY(ig_report_wrap(t, "", first, "</th><th>train</th><th>val</th><th>test</th></tr></thead><tbody>\n"));
  json_array_foreach(rows, i, row) {
    char range[48];
    if (i >= MAX_ROWS)
      break;
    snprintf(range, sizeof range, "%.0f to %.0f", ig_report_number(row, "from"), ig_report_number(row, "to"));
    IG_TRY(ig_report_wrap(t, "<tr><th scope=row><bdi>", json_object_get(row, "class") ? word(row, "class") : range,
                          "</bdi></th>"));
    IG_TRY(ig_text_addf(t, "<td>%.0f</td><td>%.0f</td><td>%.0f</td></tr>\n", ig_report_number(row, "train"),
                        ig_report_number(row, "val"), ig_report_number(row, "test")));
  }
  IG_TRY(ig_text_addf(t, "</tbody></table>\n"));
  return cut(t, json_array_size(rows), "rows");
}

static ig_status unreadable(ig_text *t, const json_t *rows) {
  const json_t *row;
  size_t i;
  if (!json_array_size(rows))
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Not used</h2><ul>\n"));
  json_array_foreach(rows, i, row) {
    if (i >= MAX_ROWS)
      break;
    IG_TRY(ig_report_wrap(t, "<li><bdi>", word(row, "path"), "</bdi>: "));
    IG_TRY(ig_report_wrap(t, "", word(row, "reason"), "</li>\n"));
  }
  IG_TRY(ig_text_addf(t, "</ul>\n"));
  return cut(t, json_array_size(rows), "texts");
}

static ig_status groups(ig_text *t, const json_t *rows) {
  const json_t *row, *one;
  size_t i, k;
  if (!json_array_size(rows))
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Equal texts</h2><ul>\n"));
  json_array_foreach(rows, i, row) {
    const json_t *texts = json_object_get(row, "texts");
    if (i >= MAX_ROWS)
      break;
    IG_TRY(ig_text_addf(t, "<li>%s",
                        json_is_true(json_object_get(row, "labels_differ")) ? "<b class=bad>labels differ</b> " : ""));
    json_array_foreach(texts, k, one) {
      if (k >= MAX_MEMBERS)
        break;
      IG_TRY(ig_report_wrap(t, k ? ", <bdi>" : "<bdi>", word(one, "path"), "</bdi>"));
      IG_TRY(ig_report_wrap(t, " <span class=soft>", word(one, "part"), ", "));
      IG_TRY(ig_report_wrap(t, "<bdi>", word(one, "label"), "</bdi></span>"));
    }
    if (json_array_size(texts) > MAX_MEMBERS)
      IG_TRY(ig_text_addf(t, " and %zu more", json_array_size(texts) - MAX_MEMBERS));
    IG_TRY(ig_text_addf(t, "</li>\n"));
  }
  IG_TRY(ig_text_addf(t, "</ul>\n"));
  return cut(t, json_array_size(rows), "groups");
}

static ig_status suspects(ig_text *t, const json_t *rows) {
  const json_t *row;
  size_t i;
  if (!json_array_size(rows))
    return IG_OK;
  IG_TRY(
      ig_text_addf(t,
                   "<h2>Suspicious labels</h2><p class=soft>What the model says against the label, the surest first. "
                   "In the training part it may only repeat what it was told.</p>\n<table><thead><tr><th>text</th>"
                   "<th>label</th><th>model says</th><th>where</th></tr></thead><tbody>\n"));
  json_array_foreach(rows, i, row) {
    if (i >= MAX_ROWS)
      break;
    IG_TRY(ig_report_wrap(t, "<tr><td><bdi>", word(row, "text"), "</bdi></td>"));
    IG_TRY(ig_report_wrap(t, "<td><bdi>", word(row, "label"), "</bdi>"));
    IG_TRY(ig_text_addf(t, " (%.0f %%)</td>", 100 * ig_report_number(row, "p_label")));
    IG_TRY(ig_report_wrap(t, "<td><b><bdi>", word(row, "said"), "</bdi></b>"));
    IG_TRY(ig_text_addf(t, " (%.0f %%)</td>", 100 * ig_report_number(row, "p_said")));
    IG_TRY(ig_report_wrap(t, "<td class=soft><bdi>", word(row, "path"), "</bdi>, "));
    IG_TRY(ig_report_wrap(t, "", word(row, "part"), "</td></tr>\n"));
  }
  IG_TRY(ig_text_addf(t, "</tbody></table>\n"));
  return cut(t, json_array_size(rows), "texts");
}

ig_status ig_text_report_write(const json_t *r, const char *out) {
  ig_status status = IG_OK;
  ig_text t = {0};
  char *title = NULL;
  IG_GOTO(ig_asprintf(&title, "Data: %s", word(r, "path")));
  IG_GOTO(ig_report_page_begin(&t, title));
  IG_GOTO(ig_report_wrap(&t, "<h1>Quality of <bdi>", word(r, "path"), "</bdi></h1>\n"));
  IG_GOTO(lead(&t, r));
  IG_GOTO(counts(&t, json_object_get(r, "classes"), strcmp(word(r, "task"), "tag") ? "Classes" : "Words of each tag",
                 "name"));
  IG_GOTO(counts(&t, json_object_get(r, "lengths"), "Lengths", word(r, "unit")));
  IG_GOTO(unreadable(&t, json_object_get(r, "unreadable")));
  IG_GOTO(groups(&t, json_object_get(r, "duplicates")));
  IG_GOTO(suspects(&t, json_object_get(r, "suspects")));
  IG_GOTO(ig_text_addf(&t,
                       "<footer>Written by ingot data in %.1f s. Equal texts are equal byte for byte. Nothing of the "
                       "data was changed.</footer>\n</main></body></html>\n",
                       ig_report_number(r, "seconds")));
  IG_GOTO(ig_file_write_atomic(out, t.data, t.n));
done:
  ig_free(title);
  ig_free(t.data);
  return status;
}
