// Reorders by oneDNN, and by the plain loops where those are as good (equal order, types that oneDNN does not know).
// Rule: it takes every pair of layouts, because the plan fixes a reorder's layouts after it has chosen the
// implementation.
#include <string.h>

#include "kernels/dnnl_common/dnnl_common.h"
#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"

// Dimensions and role as oneDNN sees the tensor; false where it has no form of it.
static bool dims_of(const ig_prepare *p, ig_dnnl_role *role, int *n, int64_t dims[DNNL_MAX_NDIMS], ig_status *status) {
  ig_layout from = p->in_layout[0], to = p->out_layout[0];
  const ig_shape *s = &p->node->in[0]->shape;
  *status = IG_OK;
  if (from.kind == IG_LAYOUT_OPAQUE || to.kind == IG_LAYOUT_OPAQUE) {
    *status = ig_dnnl_opaque_dims(p->layouts, from.kind == IG_LAYOUT_OPAQUE ? from : to, role, n, dims);
    return *status == IG_OK;
  }
  if (s->n != 4 || ig_dnnl_image_tag(from) == dnnl_format_tag_undef || ig_dnnl_image_tag(to) == dnnl_format_tag_undef)
    return false;
  *role = IG_DNNL_IMAGE;
  *n = 4;
  memcpy(dims, (int64_t[4]){s->d[0], s->d[3], s->d[1], s->d[2]}, 4 * sizeof *dims);
  return true;
}

// 16-bit types below AVX-512 BF16 go through oneDNN's slow reference: only where nothing else can.
static bool is_native(const ig_prepare *p, ig_dtype type) {
  return type == IG_F32 || (type == IG_BF16 && p->device->caps.bf16);
}

static ig_status create(ig_prepare *p, ig_dnnl_role role, int n, const int64_t *dims, ig_dnnl_task *task) {
  const ig_device_caps *caps = &p->device->caps;
  const int ids[] = {DNNL_ARG_FROM, DNNL_ARG_TO};
  ig_dnnl_md from = {0}, to = {0};
  dnnl_engine_t engine;
  dnnl_primitive_desc_t pd = NULL;
  ig_status status = IG_OK;
  int saved = ig_dnnl_enter(caps->threads);
  IG_GOTO(ig_dnnl_engine(caps, &engine));
  IG_GOTO(ig_dnnl_md_of(p->layouts, p->in_layout[0], role, n, dims, p->node->in[0]->dtype, &from));
  IG_GOTO(ig_dnnl_md_of(p->layouts, p->out_layout[0], role, n, dims, p->node->out[0]->dtype, &to));
  IG_DNNL_GOTO(ig_dnnl_reorder_pd(engine, IG_DNNL_MD(&from), IG_DNNL_MD(&to), &pd));
  IG_GOTO(ig_dnnl_task_init(caps, pd, 2, ids, task));
done:
  if (pd)
    dnnl_primitive_desc_destroy(pd);
  ig_dnnl_md_fini(&from);
  ig_dnnl_md_fini(&to);
  ig_dnnl_leave(saved);
  return status;
}

static ig_status prepare(ig_prepare *p) {
  ig_dnnl_role role;
  int n;
  int64_t dims[DNNL_MAX_NDIMS];
  ig_layout from = p->in_layout[0], to = p->out_layout[0];
  ig_status status;
  bool opaque = from.kind == IG_LAYOUT_OPAQUE || to.kind == IG_LAYOUT_OPAQUE;
  bool native = is_native(p, p->node->in[0]->dtype) && is_native(p, p->node->out[0]->dtype);
  if (ig_layout_equal(from, to) && !opaque)
    return IG_OK;  // the loops
  if (!dims_of(p, &role, &n, dims, &status) || (!native && !opaque))
    return status;
  ig_dnnl_task *task;
  IG_TRY(ig_alloc(sizeof *task, "reorder", &task));
  status = create(p, role, n, dims, task);
  if (status != IG_OK) {
    ig_free(task);
    return status;
  }
  p->workspace_bytes = task->primitive.scratch_bytes;
  p->state = task;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) { return true; }

static ig_status run(const ig_launch *l) {
  if (l->state)
    return ig_dnnl_task_run(l->state, (void *[]){l->in[0], l->out[0]}, l->workspace);
  return ig_reorder_loops(&l->node->in[0]->shape, l->out[0], l->node->out[0]->dtype, l->out_layout[0], l->in[0],
                          l->node->in[0]->dtype, l->in_layout[0], l->device->caps.threads);
}

static void destroy(void *state) {
  ig_dnnl_task_fini(state);
  ig_free(state);
}

IG_IMPLS(reorder_dnnl) = {{.name = "reorder_dnnl",
                           .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                           .supports = supports,
                           .prepare = prepare,
                           .run = run,
                           .destroy = destroy},
                          {0}};
