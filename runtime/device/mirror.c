// Memory that the host's files and the device's plans both know.
#include "runtime/device/mirror.h"

#include "runtime/base/mem.h"

ig_status ig_mirror_create(ig_device *dev, size_t bytes, bool on_host, const char *what, ig_mirror *m) {
  if (m->device)
    return IG_OK;
  IG_TRY(dev->ops->alloc(dev, bytes, what, &m->device));
  m->bytes = bytes;
  if (dev->caps.kind == IG_DEVICE_CPU)
    m->host = m->device;
  else if (on_host)
    return ig_alloc_pages(bytes, what, &m->host);  // with the rest freed by destroy
  return IG_OK;
}

void ig_mirror_destroy(ig_device *dev, ig_mirror *m) {
  if (m->host && m->host != m->device)
    ig_free_pages(m->host, m->bytes);
  if (m->device)
    dev->ops->free(dev, m->device, m->bytes);
  *m = (ig_mirror){0};
}

ig_status ig_mirror_push(ig_device *dev, const ig_mirror *m) {
  if (m->host == m->device || !m->host)
    return IG_OK;
  IG_TRY(dev->ops->copy_in(dev, m->device, m->host, m->bytes, NULL));
  return dev->ops->stream_wait(dev, NULL);
}

ig_status ig_mirror_pull(ig_device *dev, const ig_mirror *m) {
  if (m->host == m->device || !m->host)
    return IG_OK;
  IG_TRY(dev->ops->copy_out(dev, m->host, m->device, m->bytes, NULL));
  return dev->ops->stream_wait(dev, NULL);
}
