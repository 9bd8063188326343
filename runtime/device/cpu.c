// The CPU as a device: memory is host memory, a stream is the calling thread, work is done when a call returns.
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/device/device.h"
#include "runtime/graph/op.h"

static ig_status cpu_alloc(ig_device *dev, size_t bytes, const char *what, void **out) {
  return ig_alloc_pages(bytes, what, out);
}
static void cpu_free(ig_device *dev, void *p, size_t bytes) { ig_free_pages(p, bytes); }
static ig_status cpu_host_alloc(ig_device *dev, size_t bytes, void **out) {
  return ig_alloc_pages(bytes, "staging buffer", out);
}
static ig_status cpu_copy(ig_device *dev, void *dst, const void *src, size_t bytes, ig_stream *s) {
  memcpy(dst, src, bytes);
  return IG_OK;
}
static ig_status cpu_fill(ig_device *dev, void *dst, int byte, size_t bytes, ig_stream *s) {
  memset(dst, byte, bytes);
  return IG_OK;
}
// The one stream is the calling thread: its handle is the device itself, waiting is nothing.
static ig_status cpu_stream_create(ig_device *dev, ig_stream **out) {
  *out = (ig_stream *)dev;
  return IG_OK;
}
static void cpu_stream_destroy(ig_device *dev, ig_stream *s) {}
static ig_status cpu_stream_wait(ig_device *dev, ig_stream *s) { return IG_OK; }

static ig_status cpu_event_create(ig_device *dev, ig_event **out) {
  uint64_t *time;
  IG_TRY(ig_alloc(sizeof *time, "event", &time));
  *out = (ig_event *)time;
  return IG_OK;
}
static void cpu_event_destroy(ig_device *dev, ig_event *e) { ig_free(e); }
static ig_status cpu_event_record(ig_device *dev, ig_event *e, ig_stream *s) {
  *(uint64_t *)e = ig_now_ns();
  return IG_OK;
}
static ig_status cpu_event_order(ig_device *dev, ig_stream *s, ig_event *e) { return IG_OK; }
static ig_status cpu_event_wait(ig_device *dev, ig_event *e) { return IG_OK; }
static ig_status cpu_event_elapsed(ig_device *dev, ig_event *from, ig_event *to, uint64_t *ns) {
  *ns = *(uint64_t *)to - *(uint64_t *)from;
  return IG_OK;
}
static void cpu_destroy(ig_device *dev) { ig_free(dev); }

static const ig_device_ops cpu_ops = {
    .alloc = cpu_alloc,
    .free = cpu_free,
    .host_alloc = cpu_host_alloc,
    .host_free = cpu_free,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_wait = cpu_stream_wait,
    .event_create = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_record,
    .event_order = cpu_event_order,
    .event_wait = cpu_event_wait,
    .event_elapsed = cpu_event_elapsed,
    .destroy = cpu_destroy,
};

ig_status ig_device_create_cpu(const ig_cpu_options *options, ig_device **out) {
  *out = NULL;
  if (options->size != sizeof *options)
    return ig_fail(IG_ERR_INTERNAL, "ig_cpu_options: size %zu, expected %zu", options->size, sizeof *options);
  ig_device *dev;
  IG_TRY(ig_alloc(sizeof *dev, "device", &dev));
  ig_isa isa = ig_isa_detect();
  dev->ops = &cpu_ops;
  dev->impl_lists = options->impl_lists;
  dev->caps.kind = IG_DEVICE_CPU;
  dev->caps.isa = options->isa < isa ? options->isa : isa;
  dev->caps.threads = options->threads > 0 ? options->threads : ig_cpu_threads();
  // oneDNN counts on as many threads as it asked for: with fewer it leaves parts of its results out and says nothing.
  if (dev->caps.threads > omp_get_thread_limit())
    dev->caps.threads = omp_get_thread_limit();
  omp_set_dynamic(0);
  omp_set_num_threads(dev->caps.threads);  // of parallel loops started by this thread, the one that runs plans
  dev->caps.bf16 = ig_isa_has_bf16(dev->caps.isa);
  dev->caps.winograd = options->winograd;
  dev->caps.memory_bytes = ig_memory_limit();
  ig_cpu_model(dev->caps.name, sizeof dev->caps.name);
  snprintf(dev->caps.libraries, sizeof dev->caps.libraries, "%s", options->libraries ? options->libraries : "");
  *out = dev;
  return IG_OK;
}

void ig_device_destroy(ig_device *dev) {
  if (dev)
    dev->ops->destroy(dev);
}

const ig_impl *ig_device_find_impl(const ig_device *dev, const char *name) {
  const ig_impl *best = NULL;
  for (const ig_impl *const *list = dev->impl_lists; list && *list; list++)
    for (const ig_impl *impl = *list; impl->name; impl++)
      if (!strcmp(impl->name, name) && impl->isa <= dev->caps.isa && (!best || impl->isa > best->isa))
        best = impl;
  return best;
}
