#include <mollify/engine/cuda/device.h>
#include <mollify/engine/cuda/graph_memory.h>
#include <mollify/engine/cuda/runtime.h>

#include <memory>

namespace mollify::cuda {
namespace {

struct Executable {
  GraphMemory scratch;
  cudaGraphExec_t graph = nullptr;
  ~Executable() {
    if (graph) (void)cudaGraphExecDestroy(graph);
  }
};

// Ends the recording also where the work throws: a stream that stays in it refuses everything else.
cudaGraph_t record(const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  const RecordingStream recording;
  const CountedCapture counted;
  // Relaxed: kernels may take scratch from the system while they are recorded.
  check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "capture");
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream(), &graph) == cudaSuccess && graph) (void)cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream(), &graph), "capture");
  return graph;
}

}  // namespace

Graph::Graph(const std::function<void()>& work) : executable_(nullptr), nodes_(0) {
  auto executable = std::make_unique<Executable>();
  cudaGraph_t graph;
  {
    const GraphMemory::Use use(executable->scratch);
    graph = record(work);
  }
  size_t count = 0;
  cudaError_t status = cudaGraphGetNodes(graph, nullptr, &count);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&executable->graph, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(status, "capture");
  nodes_ = static_cast<int64_t>(count);
  executable_ = executable.release();
}

// A launch may still be under way: what it uses must outlive it.
Graph::~Graph() {
  (void)cudaStreamSynchronize(stream());
  delete static_cast<Executable*>(executable_);
}

void Graph::launch() const { check(cudaGraphLaunch(static_cast<Executable*>(executable_)->graph, stream()), "replay"); }

int64_t Graph::nodes() const { return nodes_; }

}  // namespace mollify::cuda
