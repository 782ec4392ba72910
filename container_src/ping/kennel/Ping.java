package kennel;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Map;
import java.util.Properties;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.Model;
import software.amazon.ai.mms.servingsdk.Worker;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/**
 * GET /ping: 200 when every model has a worker that finished loading and serve.py has no complaint, else 503.
 *
 * <p>multi-model-server's own /ping is 200 while it loads and also when all workers are dead. "Running" of the SDK is
 * the state WORKER_MODEL_LOADED: the worker's initialize() returned, which for us includes a prediction.
 */
@Endpoint(urlPattern = "ping", endpointType = EndpointTypes.INFERENCE, description = "Can every model answer?")
public class Ping extends ReadOnly {

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        // serve.py takes the file away while it drains, and while the workers hang or have no predictor. With several
        // models the platform loads them when they are asked for: none need be there.
        Properties config = context.getConfig();
        boolean ready =
                Files.exists(Paths.get(config.getProperty("health_file")))
                        && (Boolean.parseBoolean(config.getProperty("multi_model"))
                                || canAnswer(context.getModels()));
        response.setStatus(ready ? 200 : 503);
        response.setContentType("application/json");
        String body = ready ? "{\"status\": \"ready\"}" : "{\"error\": \"no worker can answer now\"}";
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
