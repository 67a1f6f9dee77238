<?php
// The functions of WordPress and WooCommerce that the example calls, as far as it sees them. One
// request to a shop is read from standard input, and what came of it is printed, both as JSON.

set_error_handler(function (int $severity, string $message, string $file, int $line): bool {
    if (error_reporting() & $severity) {
        throw new ErrorException($message, 0, $severity, $file, $line);
    }
    return true; // silenced with @
});

$request = json_decode(file_get_contents('php://stdin'), true, 512, JSON_THROW_ON_ERROR);
$actions = $done = $sent = [];
$session = new Session($request['session_key'], $request['session']);

define('ABSPATH', __DIR__ . '/');
array_map('define', array_keys($request['constants']), $request['constants']);
require $request['plugin'];

ob_start();
foreach ($request['hooks'] as [$hook, $argument]) {
    do_action($hook, $hook === 'woocommerce_store_api_checkout_order_processed' ? new WC_Order($argument) : $argument);
}
// An account may be made in the course of a request.
$session->key = $request['session_key_at_last'] ?? $session->key;
add_action('shutdown', fn () => $session->saved = $session->data, 20);
do_action('shutdown', '');
$page = ob_get_clean();
echo json_encode(['page' => $page, 'session' => (object) $session->saved, 'sent' => $sent]);

class Session
{
    public array $saved;

    public function __construct(public string $key, public array $data)
    {
        $this->saved = $data;
    }

    public function get_customer_id(): string
    {
        return $this->key;
    }

    public function get(string $name, $default = null)
    {
        return $this->data[$name] ?? $default;
    }

    public function set(string $name, $value): void
    {
        $this->data[$name] = $value;
    }
}

class WC_Cart
{
    public function __construct(private array $cart)
    {
    }

    public function is_empty(): bool
    {
        return !$this->cart['lines'];
    }

    public function get_totals(): array
    {
        return $this->cart['totals'];
    }

    public function get_applied_coupons(): array
    {
        return $this->cart['coupons'];
    }

    public function show_shipping(): bool
    {
        return $this->cart['shipping_is_known'];
    }

    public function display_prices_including_tax(): bool
    {
        return $this->cart['with_tax'];
    }

    public function get_cart(): array
    {
        $lines = [];
        foreach ($this->cart['lines'] as $number => $line) {
            $lines["key-$number"] = ['data' => new Product($line)] + $line;
        }
        return $lines;
    }
}

class Product
{
    public function __construct(public array $line)
    {
    }

    public function get_name(): string
    {
        return $this->line['name'];
    }

    public function get_sku(): string
    {
        return $this->line['sku'];
    }

    public function get_image_id()
    {
        return $this->line['image'] ?? '';
    }

    public function get_permalink($item = null): string
    {
        return $this->line['url'];
    }
}

class WC_Order
{
    public function __construct(private int $id)
    {
    }

    public function get_id(): int
    {
        return $this->id;
    }
}

function WC(): object
{
    global $request, $session;
    static $shop = null;
    return $shop ??= (object) ['session' => $session, 'cart' => new WC_Cart($request['cart'])];
}

function add_action(string $hook, callable $callback, int $priority = 10, int $arguments = 1): void
{
    global $actions;
    $actions[$hook][$priority][] = [$callback, $arguments];
}

function do_action(string $hook, ...$arguments): void
{
    global $actions, $done;
    $done[$hook] = did_action($hook) + 1;
    for ($priority = 0; $priority <= 1000; $priority++) { // one may add others for later
        foreach ($actions[$hook][$priority] ?? [] as [$callback, $accepted]) {
            $callback(...array_slice($arguments, 0, $accepted));
        }
    }
}

function did_action(string $hook): int
{
    return $GLOBALS['done'][$hook] ?? 0;
}

function is_checkout(): bool
{
    return in_array($GLOBALS['request']['page'], ['checkout', 'order-received'], true);
}

function is_wc_endpoint_url(): bool
{
    return $GLOBALS['request']['page'] === 'order-received';
}

function wp_get_current_user(): object
{
    $nobody = ['user_email' => '', 'first_name' => '', 'last_name' => ''];
    return (object) ($GLOBALS['request']['user'] ?? $nobody);
}

function wp_remote_request(string $url, array $options)
{
    global $sent;
    if ($options['timeout'] > 1) {
        throw new LogicException('A shopper may wait.');
    }
    if (!($options['blocking'] ?? true)) {
        throw new LogicException('It may not arrive.');
    }
    $headers = [];
    foreach ($options['headers'] as $name => $value) {
        $headers[] = "$name: $value";
    }
    $http = ['method' => $options['method'], 'header' => $headers, 'content' => $options['body'] ?? ''];
    $http += ['ignore_errors' => true, 'protocol_version' => 1.1];
    $body = @file_get_contents($url, false, stream_context_create(['http' => $http]));
    $status = isset($http_response_header) ? (int) explode(' ', $http_response_header[0])[1] : null;
    $sent[] = [$options['method'], parse_url($url, PHP_URL_PATH), $status];
    return $status === null ? new WP_Error() : ['response' => ['code' => $status], 'body' => $body];
}

class WP_Error
{
    public function get_error_message(): string
    {
        return 'cURL error 7: Failed to connect';
    }
}

function is_wp_error($thing): bool
{
    return $thing instanceof WP_Error;
}

function wp_remote_retrieve_response_code(array $answer): int
{
    return $answer['response']['code'];
}

function wp_remote_retrieve_body(array $answer): string
{
    return $answer['body'];
}

// Floats lose what floating-point arithmetic made of them, strings stay.
function wc_format_decimal($number): string
{
    return is_float($number) ? rtrim(rtrim(sprintf('%.6F', $number), '0'), '.') : (string) $number;
}

function wc_get_price_including_tax(Product $product, array $options = []): float
{
    return $product->line['price_with_tax'] * ($options['qty'] ?? 1);
}

function wc_get_price_excluding_tax(Product $product, array $options = []): float
{
    return $product->line['price_without_tax'] * ($options['qty'] ?? 1);
}

function wc_get_product_terms(int $product_id, string $taxonomy, array $options): array
{
    foreach ($GLOBALS['request']['cart']['lines'] as $line) {
        if ($line['product_id'] === $product_id && $taxonomy === 'product_cat') {
            return $line['categories'];
        }
    }
    return [];
}

function wp_get_attachment_image_url($id, string $size)
{
    return $id ? "https://shop-demo.io/image-$id-$size.jpg" : false;
}

function get_woocommerce_currency(): string
{
    return $GLOBALS['request']['currency'];
}

function wc_get_checkout_url(): string
{
    return 'https://shop-demo.io/checkout/';
}

function wp_hash(string $data): string
{
    return hash_hmac('md5', $data, 'a salt of wp-config.php');
}

function wp_json_encode($data)
{
    return json_encode($data);
}

function wp_strip_all_tags(string $text): string
{
    return strip_tags($text);
}

function esc_url(string $url): string
{
    return $url;
}

function esc_attr(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES);
}
