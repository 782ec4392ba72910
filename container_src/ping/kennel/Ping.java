package kennel;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.Model;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.Worker;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/**
 * GET /ping: 200 when every model has a worker that finished loading, else 503.
 *
 * <p>multi-model-server's own /ping is 200 while it loads and also when all workers are dead. "Running" of the SDK is
 * the state WORKER_MODEL_LOADED: the worker's initialize() returned, which for us includes a prediction.
 */
@Endpoint(urlPattern = "ping", endpointType = EndpointTypes.INFERENCE, description = "Can every model answer?")
public class Ping extends ModelServerEndpoint {

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        boolean ready = canAnswer(context.getModels());
        response.setStatus(ready ? 200 : 503);
        response.setContentType("application/json");
        String body = ready ? "{\"status\": \"ready\"}" : "{\"error\": \"no worker is ready\"}";
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }

    private static boolean canAnswer(Map<String, Model> models) {
        for (Model model : models.values()) {
            if (!hasRunningWorker(model)) {
                return false;
            }
        }
        return !models.isEmpty();
    }

    private static boolean hasRunningWorker(Model model) {
        for (Worker worker : model.getModelWorkers()) {
            if (worker.isRunning()) {
                return true;
            }
        }
        return false;
    }
}
