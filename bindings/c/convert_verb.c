// convert: weights of any file into .safetensors with public names. Rule: every tensor is accounted for in the answer.
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/mem.h"

ig_status ig_verb_convert(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_use use = {0};
  ig_weights_report report = {0};
  json_t *result = NULL;
  IG_TRY(ig_want_paths(c, 2, 2));
  const char *in = ig_config_path(c->config, 0), *out = ig_config_path(c->config, 1);
  const char *model = ig_config_str(c->config, "model"), *ending = strrchr(out, '.');
  if (!ending || strcmp(ending, ".safetensors") != 0)
    return ig_fail(IG_ERR_USAGE, "convert writes FILE.safetensors; %s has another ending", out);
  IG_GOTO(ig_weights_info_read(in, &use.info));
  if (!model && !use.info.model)
    IG_GOTO(ig_fail(IG_ERR_USAGE, "%s does not say which model it is of: add model=NAME (names: ingot help)", in));
  IG_GOTO(ig_model_find(model ? model : use.info.model, &use.model));
  if (use.info.n_classes < 1)
    IG_GOTO(ig_fail(IG_ERR_MISMATCH, "%s has no classifier of model=%s (%s...): is it another model's file?", in,
                    use.model->name, use.model->head));
  ig_session_options options = {.size = sizeof options,
                                .device = ig_config_str(c->config, "device"),
                                .precision = "fp32",
                                .threads = ig_thread_count(c),
                                .isa = IG_ISA_AMX,
                                .model = use.model,
                                .classes = use.info.n_classes};
  IG_GOTO(ig_session_create(&options, &use.session));
  IG_GOTO(ig_session_load(use.session, in, use.model,
                          &(ig_weights_options){.size = sizeof(ig_weights_options),
                                                .ema = ig_config_bool(c->config, "ema"),
                                                .warn = ig_note_text,
                                                .warn_user = c},
                          &report));
  if (!use.info.model)
    IG_GOTO(ig_strdup(use.model->name, &use.info.model));
  if (!use.info.task)
    IG_GOTO(ig_strdup("classify", &use.info.task));
  if (!use.info.has_preprocessing) {
    memcpy(use.info.mean, use.model->mean, sizeof use.info.mean);
    memcpy(use.info.std, use.model->std, sizeof use.info.std);
    use.info.image_size = use.model->default_size;
    use.info.eval_crop_ratio = use.model->default_size > 32 ? 0.875 : 0;
    use.info.has_preprocessing = true;
  }
  IG_GOTO(
      ig_weights_save(out, &use.session->params, (const float *const *)use.session->buffers, &use.info, use.info.step));
  result = json_pack("{s:o, s:o, s:s, s:i, s:i, s:i, s:i, s:i}", "in", ig_json_text(in), "out", ig_json_text(out),
                     "model", use.model->name, "classes", use.info.n_classes, "mapped", report.loaded, "converted",
                     report.converted, "missing", 0, "extra", report.extra);
  status = ig_answer(c, result, NULL);
done:
  json_decref(result);
  ig_use_fini(&use);
  return status;
}
