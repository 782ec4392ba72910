package kennel;

import io.netty.channel.Channel;
import io.netty.channel.ChannelException;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.SingleThreadEventLoop;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.unix.Buffer;
import io.netty.channel.unix.RawUnixChannelOption;
import io.netty.channel.unix.Socket;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.util.concurrent.FastThreadLocalThread;
import io.netty.util.internal.InternalThreadLocalMap;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/**
 * POST /drain?token=T&patience_ms=N&except=PORT: no new connections, an answer for every request that was sent; returns
 * when all are answered or the patience is over, with how many connections are still busy.
 *
 * <p>multi-model-server drops what is in flight when it is stopped, and closing its listener makes it stop at once. So
 * the listener is shut for reading, which closes nothing and lets Linux refuse new connections. `except` is the port of
 * the connection that this request came by, where it came through the same listener.
 */
@Endpoint(urlPattern = "drain", endpointType = EndpointTypes.MANAGEMENT, description = "Answer all, accept none")
public class Drain extends ModelServerEndpoint {

    // How long connections that are being opened get to arrive: a few round trips within a region.
    private static final long ARRIVAL_MS = 300;
    private static final long POLL_MS = 50;

    @Override
    public void doPost(Request request, Response response, Context context) throws IOException {
        response.setContentType("application/json");
        if (!request.getParameter("token").contains(context.getConfig().getProperty("drain_token"))) {
            response.setStatus(403);
            answer(response, "{\"error\": \"this is for the server's own use\"}");
            return;
        }
        long patience = Long.parseLong(request.getParameter("patience_ms").get(0));
        int except = Integer.parseInt(request.getParameter("except").get(0));
        try {
            answer(response, "{\"busy\": " + drain(patience, except) + "}");
        } catch (ExecutionException e) {
            throw new IOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void answer(Response response, String json) throws IOException {
        response.getOutputStream().write(json.getBytes(StandardCharsets.UTF_8));
    }

    private static int drain(long patienceMs, int except) throws ExecutionException, InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(patienceMs);
        Set<SingleThreadEventLoop> loops = eventLoops();
        List<EpollServerSocketChannel> listeners = new ArrayList<>();
        for (SingleThreadEventLoop loop : loops) {
            for (Channel channel : channels(loop)) {
                if (channel instanceof EpollServerSocketChannel) {
                    listeners.add((EpollServerSocketChannel) channel);
                }
            }
        }
        for (EpollServerSocketChannel listener : listeners) {
            dropNewConnections(listener);
        }
        Thread.sleep(ARRIVAL_MS);
        for (EpollServerSocketChannel listener : listeners) {
            shut(listener);
        }
        int busy = 1;
        int quiet = 0;
        while (quiet < 2 && System.nanoTime() < deadline) {
            busy = 0;
            for (SingleThreadEventLoop loop : loops) {
                busy += loop.submit((Callable<Integer>) () -> busy(loop, listeners, except)).get();
            }
            quiet = busy == 0 ? quiet + 1 : 0;
            Thread.sleep(POLL_MS);
        }
        return busy;
    }

    /** Every netty loop of this JVM; the server keeps its own to itself. A loop is a variable of its own thread. */
    private static Set<SingleThreadEventLoop> eventLoops() {
        Set<SingleThreadEventLoop> loops = new HashSet<>();
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            InternalThreadLocalMap variables =
                    thread instanceof FastThreadLocalThread ? ((FastThreadLocalThread) thread).threadLocalMap() : null;
            for (int i = 0; variables != null && i <= InternalThreadLocalMap.lastVariableIndex(); i++) {
                if (variables.indexedVariable(i) instanceof SingleThreadEventLoop) {
                    loops.add((SingleThreadEventLoop) variables.indexedVariable(i));
                }
            }
        }
        return loops;
    }

    private static List<Channel> channels(SingleThreadEventLoop loop) throws ExecutionException, InterruptedException {
        return loop.submit(
                        () -> {
                            List<Channel> found = new ArrayList<>();
                            for (Iterator<Channel> i = loop.registeredChannelsIterator(); i.hasNext(); ) {
                                found.add(i.next());
                            }
                            return found;
                        })
                .get();
    }

    /**
     * Lets Linux ignore the first packet of new connections, while those that are half open get through: what waits to
     * be accepted is reset when the listener is shut. A client tries again after a second and is refused.
     */
    private static void dropNewConnections(EpollServerSocketChannel listener) {
        // Classic BPF on the TCP header (SO_ATTACH_FILTER, linux/filter.h): code, jump if true, if false, operand.
        int[][] program = {
            {0x30, 0, 0, 13}, // load the byte of flags
            {0x54, 0, 0, 0x12}, // of which SYN and ACK
            {0x15, 0, 1, 0x02}, // SYN alone?
            {0x06, 0, 0, 0}, // drop it
            {0x06, 0, 0, -1}, // keep everything else
        };
        ByteBuffer code = Buffer.allocateDirectWithNativeOrder(8 * program.length);
        for (int[] step : program) {
            code.putShort((short) step[0]).put((byte) step[1]).put((byte) step[2]).putInt(step[3]);
        }
        ByteBuffer header = ByteBuffer.allocate(16).order(ByteOrder.nativeOrder());
        header.putShort(0, (short) program.length).putLong(8, Buffer.memoryAddress(code));
        try {
            listener.config().setOption(new RawUnixChannelOption("SO_ATTACH_FILTER", 1, 26, 16), header);
        } catch (ChannelException e) {
            // A sandbox without filters: a connection of the last microseconds may be reset.
        } finally {
            Buffer.free(code);
        }
    }

    private static void shut(EpollServerSocketChannel listener) throws ExecutionException, InterruptedException {
        listener.deregister().sync();
        try {
            ((Socket) listener.fd()).shutdown(true, false);
        } catch (IOException e) {
            throw new ExecutionException(e);
        }
    }

    private static int busy(SingleThreadEventLoop loop, List<EpollServerSocketChannel> listeners, int except) {
        int busy = 0;
        for (Iterator<Channel> i = loop.registeredChannelsIterator(); i.hasNext(); ) {
            Channel channel = i.next();
            ChannelHandlerContext codec = channel.pipeline().context(HttpServerCodec.class);
            if (codec == null || !listeners.contains(channel.parent()) || LastAnswer.isFrom(channel, except)) {
                continue;
            }
            LastAnswer last = channel.pipeline().get(LastAnswer.class);
            if (last == null) {
                last = new LastAnswer();
                channel.pipeline().addAfter(codec.name(), null, last);
            }
            busy += last.isBusy(channel) ? 1 : 0;
        }
        return busy;
    }
}
