package kennel;

import io.netty.channel.Channel;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.AttributeKey;
import java.net.InetSocketAddress;
import java.util.concurrent.TimeUnit;

/** Makes the next answer on a connection its last, and tells whether one is due. Lives in the connection's event loop. */
final class LastAnswer extends ChannelDuplexHandler {

    // The server sets it when it has read a request, and clears it when it sends the answer.
    private static final AttributeKey<Object> SESSION = AttributeKey.valueOf("session");
    // A connection on which nothing came for so long waits for a request, not for an answer.
    private static final long QUIET_NS = TimeUnit.SECONDS.toNanos(3);

    private boolean receiving;
    private long lastRead = System.nanoTime();

    boolean isBusy(Channel channel) {
        return receiving || channel.attr(SESSION).get() != null || System.nanoTime() - lastRead < QUIET_NS;
    }

    static boolean isFrom(Channel channel, int port) {
        return channel.remoteAddress() instanceof InetSocketAddress
                && ((InetSocketAddress) channel.remoteAddress()).getPort() == port;
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        lastRead = System.nanoTime();
        if (message instanceof HttpObject) {
            receiving = !(message instanceof LastHttpContent);
        }
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        ChannelPromise written = promise.unvoid();
        if (message instanceof HttpResponse
                && ((HttpResponse) message).status().codeClass() != HttpStatusClass.INFORMATIONAL) {
            ((HttpResponse) message).headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
            // The server's setting of 0 would discard what the client has not fetched yet.
            context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            written.addListener(ChannelFutureListener.CLOSE);
        }
        context.write(message, written);
    }
}
