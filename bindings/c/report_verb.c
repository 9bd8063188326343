// report RUN...: one HTML file. Rule: the runs are read, never changed; the report is the only file written.
#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/report.h"

ig_status ig_verb_report(ig_call_state *c) {
  ig_status status = IG_OK;
  const char *out = ig_config_str(c->config, "out");
  char *path = NULL;
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
  else if (n == 1)
    IG_GOTO(ig_path_join(&path, runs[0], "report.html"));
  else
    IG_GOTO(ig_strdup("report.html", &path));
  IG_GOTO(n == 1 ? ig_report_write(runs[0], path) : ig_report_compare(n, runs, path));
  result = json_pack("{s:o}", "path", ig_json_text(path));
  status = ig_answer(c, result, NULL);
done:
  json_decref(result);
  ig_free(path);
  ig_free(runs);
  return status;
}
