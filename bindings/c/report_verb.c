// report RUN...: one HTML file. Rule: the runs are read, never changed; the report is the only file written, by default
// into the (first) run's folder; a comparison never replaces a run's own report.
#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/report.h"

#define COMPARISON "comparison.html"

// out= of a comparison that is report.html of a run folder.
static ig_status keep_own_report(const char *out) {
  char *folder = NULL;
  bool is_run = false;
  if (strcmp(ig_path_name(out), "report.html") != 0)
    return IG_OK;
  const int n = (int)(ig_path_name(out) - out);
  IG_TRY(n ? ig_asprintf(&folder, "%.*s", n, out) : ig_strdup(".", &folder));
  ig_status status = ig_path_holds(folder, "args.yaml", &is_run);
  ig_free(folder);
  IG_TRY(status);
  return is_run ? ig_fail(IG_ERR_USAGE,
                          "out=%s is that run's own report; name another file for the comparison, or leave out= out "
                          "(%s in the first run's folder)",
                          out, COMPARISON)
                : IG_OK;
}

ig_status ig_verb_report(ig_call_state *c) {
  ig_status status = IG_OK;
  const char *out = ig_config_str(c->config, "out");
  char *path = NULL, q[IG_QUOTE_BYTES];
  json_t *result = NULL;
  IG_TRY(ig_want_paths(c, 1, SIZE_MAX));
  IG_TRY(ig_want_writable(c, "out"));
  size_t n = ig_config_n_paths(c->config);
  const char **runs = NULL;
  IG_TRY(ig_alloc_array(n, sizeof *runs, "run folders", &runs));
  for (size_t i = 0; i < n; i++)
    runs[i] = ig_config_path(c->config, i);
  if (out && *out)
    IG_GOTO(ig_strdup(out, &path));
  else
    IG_GOTO(ig_path_join(&path, runs[0], n == 1 ? "report.html" : COMPARISON));
  if (n > 1)
    IG_GOTO(keep_own_report(path));
  if (ig_path_is_dir(runs[0]) && ig_file_check_writable(path) != IG_OK)
    IG_GOTO(ig_fail_prefix(IG_ERR_USAGE, "%s cannot be written; name another file by out=", ig_shown(q, path)));
  IG_GOTO(n == 1 ? ig_report_write(runs[0], path) : ig_report_compare(n, runs, path));
  result = json_pack("{s:o}", "path", ig_json_text(path));
  status = ig_answer(c, result, NULL);
done:
  json_decref(result);
  ig_free(path);
  ig_free(runs);
  return status;
}
