<?php
/**
 * Plugin Name: checkout-proxy
 * Description: Tells checkout-proxy each cart as WooCommerce computed it, and each order.
 *
 * Copy this file into wp-content/mu-plugins/, and set in wp-config.php:
 *
 *     define('CHECKOUT_PROXY_URL', 'http://127.0.0.1:8000'); // where this server reaches the proxy
 *     define('CHECKOUT_PROXY_SHOP_KEY', '…');  // the proxy's CHECKOUT_PROXY_SHOP_KEY
 *     define('CHECKOUT_PROXY_TOKEN_KEY', '…'); // the last of its CHECKOUT_PROXY_TOKEN_KEYS
 *
 * CHECKOUT_PROXY_SHOP (else 'shop') and CHECKOUT_PROXY_SCRIPT (else '/co/checkout.js') are for
 * proxies that are set up otherwise. Without the three, nothing happens.
 */

namespace CheckoutProxy;

if (!defined('CHECKOUT_PROXY_URL') || !defined('CHECKOUT_PROXY_SHOP_KEY') || !defined('CHECKOUT_PROXY_TOKEN_KEY')) {
    return;
}

add_action('wp_footer', safely('CheckoutProxy\print_tag'));
add_action('woocommerce_checkout_order_processed', fn ($id) => ordered($id)); // the classic checkout
add_action('woocommerce_store_api_checkout_order_processed', fn ($order) => ordered($order->get_id())); // blocks
// WooCommerce saves its session at 20, and in it is what was told.
add_action('shutdown', safely('CheckoutProxy\tell'), 15);

/** Decide, once a request and when all is computed, what the proxy has to be told. */
function tell(): void
{
    if (!function_exists('WC') || !WC()->session || !WC()->cart) {
        return;
    }
    // The id, too: it changes when a guest logs in, or gets an account by ordering.
    [$told_id, $told_hash] = WC()->session->get('checkout_proxy') ?: ['', ''];
    if (ordered()) {
        send('POST', '/v1/orders', ['cart_id' => $told_id ?: cart_id(), 'order_id' => ordered()]);
        WC()->session->set('checkout_proxy', null);
        return;
    }
    $is_page = did_action('wp_footer') && is_the_checkout();
    // Totals are not computed for a cart without items.
    $may_differ = did_action('woocommerce_after_calculate_totals')
        || did_action('woocommerce_cart_item_removed') || did_action('woocommerce_cart_emptied');
    if (!$may_differ && !$is_page) {
        return;
    }
    $id = WC()->cart->is_empty() ? '' : cart_id();
    if ($told_id !== '' && $told_id !== $id) {
        send('DELETE', '/v1/carts/' . rawurlencode($told_id));
        WC()->session->set('checkout_proxy', null);
    }
    $cart = $id === '' ? [] : cart(WC()->cart);
    $hash = md5(wp_json_encode($cart));
    // The checkout page tells it in any case, should the last one have been lost.
    if ($id === '' || ([$id, $hash] === [$told_id, $told_hash] && !$is_page)) {
        return;
    }
    $now = new \DateTime('now', new \DateTimeZone('UTC'));
    send('PUT', '/v1/carts/' . rawurlencode($id), $cart + ['updated_at' => $now->format('Y-m-d\TH:i:s.u\Z')]);
    WC()->session->set('checkout_proxy', [$id, $hash]);
}

/** The cart as WooCommerce has it: copied, never added up. */
function cart(\WC_Cart $cart): array
{
    // Parts are without tax, as WooCommerce keeps them; the total is what the shopper would pay.
    $totals = array_map('wc_format_decimal', $cart->get_totals());
    return known([
        'currency' => get_woocommerce_currency(),
        'total' => $totals['total'],
        'subtotal' => $totals['subtotal'],
        'discount' => $totals['discount_total'],
        'tax' => $totals['total_tax'],
        // Before there is an address it is unknown, not free.
        'shipping' => $cart->show_shipping() ? $totals['shipping_total'] : null,
        'coupons' => array_map('strval', array_values($cart->get_applied_coupons())),
        'checkout_url' => wc_get_checkout_url(),
        'items' => array_map('CheckoutProxy\item', array_values($cart->get_cart())),
    ]);
}

/** A line of the cart, with or without tax as the cart page shows it, before coupons. */
function item(array $line): array
{
    $product = $line['data'];
    $with_tax = WC()->cart->display_prices_including_tax();
    $price = $with_tax ? 'wc_get_price_including_tax' : 'wc_get_price_excluding_tax';
    return known([
        'product_id' => $line['variation_id'] ?: $line['product_id'],
        'sku' => $product->get_sku(),
        'name' => plain($product->get_name()),
        'quantity' => $line['quantity'],
        'unit_price' => wc_format_decimal($price($product)),
        'row_total' => wc_format_decimal($price($product, ['qty' => $line['quantity']])),
        'product_url' => $product->get_permalink($line),
        'image_url' => wp_get_attachment_image_url($product->get_image_id(), 'woocommerce_thumbnail'),
        'categories' => array_map(
            'CheckoutProxy\plain',
            wc_get_product_terms($line['product_id'], 'product_cat', ['fields' => 'names'])
        ),
    ]);
}

/** Print the snippet's tag, with a token for this browser's cart. */
function print_tag(): void
{
    if (!is_the_checkout() || !WC()->session) {
        return;
    }
    $user = wp_get_current_user(); // of a guest, nothing is known
    $customer = known([
        'email' => $user->user_email,
        'first_name' => $user->first_name,
        'last_name' => $user->last_name,
    ]);
    $shop = defined('CHECKOUT_PROXY_SHOP') ? CHECKOUT_PROXY_SHOP : 'shop';
    $session = ['shop' => $shop, 'cart_id' => cart_id()] + ($customer ? ['customer' => $customer] : []);
    $script = defined('CHECKOUT_PROXY_SCRIPT') ? CHECKOUT_PROXY_SCRIPT : '/co/checkout.js';
    $tag = '<script defer src="%s" data-token="%s"></script>' . "\n";
    printf($tag, esc_url($script), esc_attr(token($session, CHECKOUT_PROXY_TOKEN_KEY)));
}

function is_the_checkout(): bool
{
    // Its endpoints are orders already: paying for one, and the thanks for it.
    return is_checkout() && !is_wc_endpoint_url();
}

function cart_id(): string
{
    $key = (string) WC()->session->get_customer_id();
    // A customer's is the number of the account, which anybody can guess.
    return preg_match('/^\d+$/D', $key) ? 'u_' . wp_hash("checkout-proxy $key") : $key;
}

/** Note the order that this request places, or return it. */
function ordered($id = null): ?string
{
    static $order_id = null;
    return $order_id = $id === null ? $order_id : (string) $id;
}

/** As docs/tokens.md has it. */
function token(array $session, string $key): string
{
    $base64 = fn ($bytes) => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR;
    $value = $base64(json_encode($session, $flags)) . '.' . $base64(pack('N', time()));
    $derived = hash('sha256', 'checkout-proxy.session' . 'signer' . $key, true);
    return $value . '.' . $base64(hash_hmac('sha256', $value, $derived, true));
}

function plain(string $html): string
{
    return html_entity_decode(wp_strip_all_tags($html), ENT_QUOTES, 'UTF-8');
}

function known(array $members): array
{
    return array_filter($members, fn ($value) => !in_array($value, [null, false, '', []], true));
}

/** Have this sent once the page is out and WooCommerce has saved its session. */
function send(string $method, string $path, ?array $body = null): void
{
    $send = function () use ($method, $path, $body): void {
        function_exists('fastcgi_finish_request') && fastcgi_finish_request();
        $headers = ['Authorization' => 'Bearer ' . CHECKOUT_PROXY_SHOP_KEY, 'Content-Type' => 'application/json'];
        $body = $body === null ? null : wp_json_encode($body);
        // Not 'blocking' => false: where PHP has no cURL, WordPress then hangs up before the proxy
        // has read the request, and every third is lost; with cURL it waits all the same.
        $options = ['method' => $method, 'headers' => $headers, 'body' => $body, 'timeout' => 1];
        $answer = wp_remote_request(CHECKOUT_PROXY_URL . $path, $options);
        if (is_wp_error($answer)) {
            throw new \RuntimeException($answer->get_error_message());
        }
        if (wp_remote_retrieve_response_code($answer) >= 400) {
            throw new \RuntimeException(wp_remote_retrieve_body($answer));
        }
    };
    add_action('shutdown', safely($send), 1000);
}

/** Whatever goes wrong here, the shop goes on. */
function safely(callable $do): callable
{
    return function () use ($do): void {
        try {
            $do();
        } catch (\Throwable $error) {
            error_log('checkout-proxy: ' . $error->getMessage());
        }
    };
}
