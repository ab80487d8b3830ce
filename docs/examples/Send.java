// Send one message and look at it. Needs Java 11 or later: java Send.java
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Send {
    static final HttpClient CLIENT = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();

    static HttpRequest.Builder to(String path) {
        return HttpRequest.newBuilder(URI.create(System.getenv("SIGNALBOX_URL") + path))
                .timeout(Duration.ofSeconds(30))
                .header("Authorization", "Bearer " + System.getenv("SIGNALBOX_KEY"));
    }

    static String ask(HttpRequest request) throws Exception {
        HttpResponse<String> answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() >= 400) {
            throw new IllegalStateException(answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    public static void main(String[] arguments) throws Exception {
        String message = "{\"to\":\"+447700900123\",\"from\":\"ACME\",\"text\":\"Your order 4711 is on its way\"}";
        String sent = ask(to("/v1/messages")
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", UUID.randomUUID().toString()) // the same when no answer came
                .POST(HttpRequest.BodyPublishers.ofString(message))
                .build());
        Matcher id = Pattern.compile("\"id\":\"([0-9]+)\"").matcher(sent);
        if (!id.find()) {
            throw new IllegalStateException(sent);
        }
        System.out.println(id.group(1));
        System.out.println(ask(to("/v1/messages/" + id.group(1)).GET().build()));
    }
}
