package kennel;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/**
 * GET /execution-parameters: what a batch transform job may ask of this server, in the platform's own words.
 *
 * <p>A photograph is a record of its own, so records are never joined. `max_payload_in_mb` is a line that serve.py adds
 * to the server's properties; the server itself does not know it.
 */
@Endpoint(
        urlPattern = "execution-parameters",
        endpointType = EndpointTypes.INFERENCE,
        description = "Concurrency and payload for batch transform")
public class ExecutionParameters extends ReadOnly {

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        Properties config = context.getConfig();
        String body =
                "{\"MaxConcurrentTransforms\": "
                        + config.getProperty("default_workers_per_model")
                        + ", \"BatchStrategy\": \"SINGLE_RECORD\", \"MaxPayloadInMB\": "
                        + config.getProperty("max_payload_in_mb")
                        + "}";
        response.setContentType("application/json");
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }
}
