// Streams and graphs: a stream that captures records its work as closures, which a graph's launch runs in the order of
// their recording.
#include "internal.h"

#include <algorithm>
#include <thread>
#include <utility>

struct CUgraphNode_st {
  cudaGraphNodeType type;
  std::function<void()> work;
};

namespace {

using Nodes = std::vector<std::shared_ptr<CUgraphNode_st>>;

void run(const Nodes& nodes) {
  for (const auto& node : nodes) node->work();
}

}  // namespace

struct CUgraph_st {
  Nodes nodes;
};

struct CUgraphExec_st {
  Nodes nodes;
};

struct CUstream_st {
  unsigned flags;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;  // that began the capture
  unsigned long long capture = 0;
  std::unique_ptr<CUgraph_st> graph;
};

namespace emulation {
namespace {

std::vector<CUstream_st*>& capturing() {
  static auto* streams = new std::vector<CUstream_st*>;
  return *streams;
}

void end_capture(CUstream_st& stream) {
  std::erase(capturing(), &stream);
  stream.status = cudaStreamCaptureStatusNone;
}

}  // namespace

bool is_capturing(cudaStream_t stream) { return stream != nullptr && stream->status != cudaStreamCaptureStatusNone; }

cudaError_t forbid_capture(cudaStream_t stream) {
  if (!is_capturing(stream)) return cudaSuccess;
  stream->status = cudaStreamCaptureStatusInvalidated;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t forbid_capture() {
  cudaError_t status = cudaSuccess;
  for (CUstream_st* stream : capturing()) {
    const bool watches =
        stream->mode == cudaStreamCaptureModeGlobal ||
        (stream->mode == cudaStreamCaptureModeThreadLocal && stream->thread == std::this_thread::get_id());
    if (watches) status = forbid_capture(stream);
  }
  return status;
}

cudaError_t submit(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work) {
  const std::lock_guard lock(device_mutex());
  if (stream == nullptr) {
    // The legacy stream waits for all blocking streams, and a capture can't be waited for.
    for (CUstream_st* other : capturing()) {
      if ((other->flags & cudaStreamNonBlocking) != 0) continue;
      forbid_capture(other);
      return cudaErrorStreamCaptureImplicit;
    }
  } else if (stream->status == cudaStreamCaptureStatusInvalidated) {
    return cudaErrorStreamCaptureInvalidated;
  } else if (stream->status == cudaStreamCaptureStatusActive) {
    stream->graph->nodes.push_back(std::make_shared<CUgraphNode_st>(CUgraphNode_st{type, std::move(work)}));
    return cudaSuccess;
  }
  work();
  return cudaSuccess;
}

}  // namespace emulation

using namespace emulation;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (stream == nullptr || flags > cudaStreamNonBlocking) return finish(cudaErrorInvalidValue);
  *stream = new CUstream_st{flags, {}, {}, {}, {}, {}};
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (stream == nullptr) return finish(cudaErrorInvalidResourceHandle);
  end_capture(*stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (cudaError_t status = forbid_capture(stream); status != cudaSuccess) return finish(status);
  return finish(forbid_capture());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (function == nullptr) return finish(cudaErrorInvalidValue);
  return finish(submit(stream, cudaGraphNodeTypeHost, [=] { function(data); }));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (stream == nullptr) return finish(cudaErrorStreamCaptureUnsupported);
  if (mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed) return finish(cudaErrorInvalidValue);
  if (is_capturing(stream)) return finish(cudaErrorIllegalState);
  static unsigned long long captures = 0;
  stream->status = cudaStreamCaptureStatusActive;
  stream->mode = mode;
  stream->thread = std::this_thread::get_id();
  stream->capture = ++captures;
  stream->graph = std::make_unique<CUgraph_st>();
  capturing().push_back(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(device_mutex());
  if (graph == nullptr) return finish(cudaErrorInvalidValue);
  *graph = nullptr;
  if (!is_capturing(stream)) return finish(cudaErrorIllegalState);
  if (stream->mode != cudaStreamCaptureModeRelaxed && stream->thread != std::this_thread::get_id()) {
    forbid_capture(stream);
    return finish(cudaErrorStreamCaptureWrongThread);
  }
  const bool valid = stream->status == cudaStreamCaptureStatusActive;
  end_capture(*stream);
  if (!valid) {
    stream->graph.reset();
    return finish(cudaErrorStreamCaptureInvalidated);
  }
  *graph = stream->graph.release();
  return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph) {
  const std::lock_guard lock(device_mutex());
  if (status == nullptr) return finish(cudaErrorInvalidValue);
  *status = stream == nullptr ? cudaStreamCaptureStatusNone : stream->status;
  const bool active = *status == cudaStreamCaptureStatusActive;
  if (active && id != nullptr) *id = stream->capture;
  if (active && graph != nullptr) *graph = stream->graph.get();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return cudaStreamGetCaptureInfo(stream, status, nullptr, nullptr);
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (graph == nullptr || count == nullptr) return finish(cudaErrorInvalidValue);
  if (nodes == nullptr) {
    *count = graph->nodes.size();
    return cudaSuccess;
  }
  for (size_t i = 0; i < *count; ++i) nodes[i] = i < graph->nodes.size() ? graph->nodes[i].get() : nullptr;
  *count = std::min(*count, graph->nodes.size());
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  if (node == nullptr || type == nullptr) return finish(cudaErrorInvalidValue);
  *type = node->type;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return finish(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (exec == nullptr || graph == nullptr) return finish(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

// Replaces all nodes where the graph has as many of the same kinds.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* result) {
  const std::lock_guard lock(device_mutex());
  if (exec == nullptr || graph == nullptr || result == nullptr) return finish(cudaErrorInvalidValue);
  *result = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
  if (exec->nodes.size() != graph->nodes.size()) {
    result->result = cudaGraphExecUpdateErrorTopologyChanged;
    return finish(cudaErrorGraphExecUpdateFailure);
  }
  for (size_t i = 0; i < exec->nodes.size(); ++i) {
    if (exec->nodes[i]->type == graph->nodes[i]->type) continue;
    *result = {cudaGraphExecUpdateErrorNodeTypeChanged, graph->nodes[i].get(), nullptr};
    return finish(cudaErrorGraphExecUpdateFailure);
  }
  exec->nodes = graph->nodes;
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (exec == nullptr) return finish(cudaErrorInvalidValue);
  return finish(forbid_capture(stream));
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (exec == nullptr) return finish(cudaErrorInvalidValue);
  return finish(submit(stream, cudaGraphNodeTypeGraph, [nodes = exec->nodes] { run(nodes); }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  if (exec == nullptr) return finish(cudaErrorInvalidValue);
  delete exec;
  return cudaSuccess;
}
}
