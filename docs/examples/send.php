<?php
// Send one message and look at it. Needs PHP 8 with curl.
function ask(string $method, string $path, ?array $body = null, array $headers = []): array
{
    $request = curl_init(getenv('SIGNALBOX_URL') . $path);
    curl_setopt_array($request, [
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 30,
        CURLOPT_HTTPHEADER => [
            'Authorization: Bearer ' . getenv('SIGNALBOX_KEY'),
            'Content-Type: application/json',
            ...$headers,
        ],
    ]);
    if ($body !== null) {
        curl_setopt($request, CURLOPT_POSTFIELDS, json_encode($body));
    }
    $answer = curl_exec($request);
    $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
    $told = json_decode((string) $answer, true);
    if ($answer === false || $status >= 400) {
        throw new RuntimeException("$status " . ($told['detail'] ?? curl_error($request)));
    }
    return $told;
}

$sent = ask(
    'POST',
    '/v1/messages',
    ['to' => '+447700900123', 'from' => 'ACME', 'text' => 'Your order 4711 is on its way'],
    ['Idempotency-Key: ' . bin2hex(random_bytes(16))] // keep it, and send it again when no answer came
);
echo $sent['id'], "\n";

$message = ask('GET', '/v1/messages/' . $sent['id']);
echo $message['state'], ' ', implode(' ', array_column($message['timeline'], 'step')), "\n";
