package kennel;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/** An endpoint that one can only GET: 405 for what the server would answer with 500. */
abstract class ReadOnly extends ModelServerEndpoint {

    @Override
    public void doPost(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    @Override
    public void doPut(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    @Override
    public void doDelete(Request request, Response response, Context context) throws IOException {
        refuse(response);
    }

    private static void refuse(Response response) throws IOException {
        response.setStatus(405);
        response.setContentType("application/json");
        String body = "{\"error\": \"this address answers GET only\"}";
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }
}
