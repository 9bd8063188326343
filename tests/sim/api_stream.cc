// The fake runtime: streams, events, captured graphs.
#include <algorithm>

#include "tests/sim/api.h"

using namespace sim;

namespace sim {

cudaError_t submit(cudaStream_t h, std::shared_ptr<Work> w) {
  Stream *s = stream_of(h);
  if (!s)
    return cudaErrorInvalidResourceHandle;
  if (Capture *c = s->capture) {
    if (c->invalid)
      return cudaErrorStreamCaptureInvalidated;
    int lane = std::find(c->streams.begin(), c->streams.end(), s) - c->streams.begin();
    c->graph->nodes.push_back({std::move(w), s->at, lane});
    s->at = {(int)c->graph->nodes.size() - 1};
    return cudaSuccess;
  }
  if (s == runtime().legacy)
    for (Capture *c : runtime().captures)
      if (c->origin->blocking) {
        invalidate(c);
        return cudaErrorStreamCaptureImplicit;
      }
  enqueue(s, std::move(w));
  return cudaSuccess;
}

}  // namespace sim

extern "C" {

// ---- streams ----
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
  BEGIN(cudaStreamCreateWithFlags);
  stream_of(nullptr);
  *s = (cudaStream_t)new_stream(!(flags & cudaStreamNonBlocking));
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *s) {
  BEGIN(cudaStreamCreate);
  stream_of(nullptr);
  *s = (cudaStream_t)new_stream(true);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int) {
  BEGIN(cudaStreamCreateWithPriority);
  stream_of(nullptr);
  *s = (cudaStream_t)new_stream(!(flags & cudaStreamNonBlocking));
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t h) {
  BEGIN(cudaStreamDestroy);
  STREAM(s, h);
  if (s == runtime().legacy)
    return end(cudaErrorInvalidResourceHandle);
  if (s->capture) {
    Capture *c = s->capture;
    end_capture(c);
  }
  wait_stream(s);
  auto &all = runtime().streams;
  all.erase(std::find(all.begin(), all.end(), s));
  delete s;
  return sticky();
}
cudaError_t cudaStreamSynchronize(cudaStream_t h) {
  BEGIN(cudaStreamSynchronize);
  STREAM(s, h);
  if (s->capture)
    invalidate(s->capture);
  if (s->capture)
    return end(cudaErrorStreamCaptureUnsupported);
  UNSAFE();
  wait_stream(s);
  return sticky();
}
cudaError_t cudaStreamQuery(cudaStream_t h) {
  BEGIN(cudaStreamQuery);
  STREAM(s, h);
  if (s->capture)
    invalidate(s->capture);
  if (s->capture)
    return end(cudaErrorStreamCaptureUnsupported);
  UNSAFE();
  if (!s->last || s->last->done)
    wait_stream(s);
  else {
    run_some(s);
    if (cudaError_t e = runtime().sticky; e != cudaSuccess)
      return end(e);
    return cudaErrorNotReady;
  }
  return sticky();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t h, cudaEvent_t eh, unsigned) {
  BEGIN(cudaStreamWaitEvent);
  STREAM(s, h);
  auto *e = (Event *)eh;
  Runtime &r = runtime();
  if (!r.events.count(e))
    return end(cudaErrorInvalidResourceHandle);
  if (e->capture) {
    Capture *c = e->capture;
    if (s->capture && s->capture != c) {
      invalidate(c);
      invalidate(s->capture);
      return end(cudaErrorStreamCaptureIsolation);
    }
    if (s == r.legacy)
      return end(cudaErrorStreamCaptureImplicit);
    if (!s->capture) {
      s->capture = c;
      s->at.clear();
      c->streams.push_back(s);
    }
    for (int k : e->at)
      if (std::find(s->at.begin(), s->at.end(), k) == s->at.end())
        s->at.push_back(k);
    return cudaSuccess;
  }
  if (s->capture) {
    if (!e->recorded)
      return cudaSuccess;
    invalidate(s->capture);
    return end(cudaErrorStreamCaptureIsolation);
  }
  if (e->recorded && e->op) {
    OpRef o = enqueue(s, std::make_shared<Work>());
    o->after.push_back(e->op);
    o->clock.join(e->clock);
    s->clock.join(e->clock);
  }
  return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *data) {
  BEGIN(cudaLaunchHostFunc);
  auto w = std::make_shared<Work>();
  w->kind = HOST;
  w->host = f;
  w->host_data = data;
  return end(submit(s, w));
}

// ---- events ----
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
  BEGIN(cudaEventCreateWithFlags);
  auto *x = new Event{!(flags & cudaEventDisableTiming), false, nullptr, {}, nullptr, {}};
  runtime().events.insert(x);
  *e = (cudaEvent_t)x;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) {
  BEGIN(cudaEventCreate);
  auto *x = new Event{true, false, nullptr, {}, nullptr, {}};
  runtime().events.insert(x);
  *e = (cudaEvent_t)x;
  return cudaSuccess;
}
#define EVENT(e, h)               \
  auto *e = (Event *)(h);         \
  if (!runtime().events.count(e)) \
  return end(cudaErrorInvalidResourceHandle)
cudaError_t cudaEventDestroy(cudaEvent_t h) {
  BEGIN(cudaEventDestroy);
  EVENT(e, h);
  runtime().events.erase(e);
  delete e;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t h, cudaStream_t sh) {
  BEGIN(cudaEventRecord);
  EVENT(e, h);
  STREAM(s, sh);
  e->recorded = true;
  if (s->capture) {
    if (s->capture->invalid)
      return end(cudaErrorStreamCaptureInvalidated);
    e->capture = s->capture;
    e->at = s->at;
    return cudaSuccess;
  }
  e->capture = nullptr;
  if (e->timing || s == runtime().legacy)  // a place of its own in the stream
    enqueue(s, std::make_shared<Work>());
  e->op = s->last;
  e->clock = s->clock;
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t h, cudaStream_t sh, unsigned) { return cudaEventRecord(h, sh); }
cudaError_t cudaEventSynchronize(cudaEvent_t h) {
  BEGIN(cudaEventSynchronize);
  EVENT(e, h);
  if (e->capture) {
    invalidate(e->capture);
    return end(cudaErrorCapturedEvent);
  }
  UNSAFE();
  if (e->recorded)
    wait_op(e->op, e->clock);
  return sticky();
}
cudaError_t cudaEventQuery(cudaEvent_t h) {
  BEGIN(cudaEventQuery);
  EVENT(e, h);
  if (e->capture) {
    invalidate(e->capture);
    return end(cudaErrorCapturedEvent);
  }
  UNSAFE();
  if (e->op && !e->op->done) {  // it goes on while one looks
    OpRef o = e->op;
    for (bool deeper = true; deeper;) {
      deeper = false;
      for (auto &a : o->after)
        if (!a->done) {
          o = a;
          deeper = true;
          break;
        }
    }
    run_op(o);
    if (cudaError_t x = runtime().sticky; x != cudaSuccess)
      return end(x);
    return cudaErrorNotReady;
  }
  if (e->recorded)
    wait_op(e->op, e->clock);
  return sticky();
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t ah, cudaEvent_t bh) {
  BEGIN(cudaEventElapsedTime);
  EVENT(a, ah);
  EVENT(b, bh);
  if (!a->timing || !b->timing || !a->recorded || !b->recorded)
    return end(cudaErrorInvalidResourceHandle);
  if ((a->op && !a->op->done) || (b->op && !b->op->done))
    return cudaErrorNotReady;
  *ms = (float)(1e3 * ((b->op ? b->op->finish : 0) - (a->op ? a->op->finish : 0)));
  return cudaSuccess;
}

// ---- capture and graphs ----
cudaError_t cudaStreamBeginCapture(cudaStream_t h, cudaStreamCaptureMode mode) {
  BEGIN(cudaStreamBeginCapture);
  STREAM(s, h);
  Runtime &r = runtime();
  if (s == r.legacy)
    return end(cudaErrorStreamCaptureUnsupported);
  if (s->capture)
    return end(cudaErrorIllegalState);
  auto *c = new Capture;
  c->origin = s;
  c->mode = mode;
  c->thread = std::this_thread::get_id();
  c->streams = {s};
  c->id = r.next_capture++;
  r.captures.insert(c);
  s->capture = c;
  s->at.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t h, cudaGraph_t *g) {
  BEGIN(cudaStreamEndCapture);
  STREAM(s, h);
  *g = nullptr;
  Capture *c = s->capture;
  if (!c)
    return end(cudaErrorIllegalState);
  if (c->origin != s)
    return end(cudaErrorStreamCaptureUnmatched);
  if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
    return end(cudaErrorStreamCaptureWrongThread);
  cudaError_t e = c->invalid   ? cudaErrorStreamCaptureInvalidated
                  : joined(*c) ? cudaSuccess
                               : cudaErrorStreamCaptureUnjoined;
  if (e == cudaSuccess) {
    Graph *graph = c->graph.release();
    runtime().graphs.insert(graph);
    *g = (cudaGraph_t)graph;
  }
  end_capture(c);
  return end(e);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t h, cudaStreamCaptureStatus *status) {
  BEGIN(cudaStreamIsCapturing);
  STREAM(s, h);
  *status = !s->capture           ? cudaStreamCaptureStatusNone
            : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                  : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
  BEGIN(cudaThreadExchangeStreamCaptureMode);
  static thread_local cudaStreamCaptureMode now = cudaStreamCaptureModeGlobal;
  std::swap(now, *mode);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t h, unsigned long long) {
  BEGIN(cudaGraphInstantiate);
  auto *g = (Graph *)h;
  *x = nullptr;
  if (!runtime().graphs.count(g))
    return end(cudaErrorInvalidValue);
  auto *exec = new GraphExec{g->nodes, {}, {}};
  runtime().execs.insert(exec);
  *x = (cudaGraphExec_t)exec;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *x, cudaGraph_t h, unsigned long long flags) {
  return cudaGraphInstantiate(x, h, flags);
}
#define EXEC(x, h)               \
  auto *x = (GraphExec *)(h);    \
  if (!runtime().execs.count(x)) \
  return end(cudaErrorInvalidResourceHandle)
cudaError_t cudaGraphLaunch(cudaGraphExec_t h, cudaStream_t sh) {
  BEGIN(cudaGraphLaunch);
  EXEC(x, h);
  STREAM(s, sh);
  if (s->capture) {  // as nodes of the graph being captured
    Capture *c = s->capture;
    if (c->invalid)
      return end(cudaErrorStreamCaptureInvalidated);
    invalidate(c);
    return end(cudaErrorStreamCaptureUnsupported);
  }
  launch_graph(x, s);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t h, cudaStream_t sh) {
  BEGIN(cudaGraphUpload);
  EXEC(x, h);
  (void)x;
  STREAM(s, sh);
  (void)s;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t h) {
  BEGIN(cudaGraphExecDestroy);
  EXEC(x, h);
  runtime().execs.erase(x);
  delete x;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t h) {
  BEGIN(cudaGraphDestroy);
  auto *g = (Graph *)h;
  if (!runtime().graphs.erase(g))
    return end(cudaErrorInvalidValue);
  delete g;
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t h, cudaGraphNode_t *nodes, size_t *n) {
  BEGIN(cudaGraphGetNodes);
  auto *g = (Graph *)h;
  if (!runtime().graphs.count(g))
    return end(cudaErrorInvalidValue);
  if (nodes)
    for (size_t k = 0; k < std::min(*n, g->nodes.size()); k++)
      nodes[k] = (cudaGraphNode_t)&g->nodes[k];
  *n = g->nodes.size();
  return cudaSuccess;
}

}  // extern "C"
