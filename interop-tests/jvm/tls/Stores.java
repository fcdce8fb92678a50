import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;

/**
 * Writes key stores and trust stores, PKCS12 and JKS, beside the PEM files that they are made of. Arguments: the
 * directory and the password.
 */
public final class Stores {
  public static void main(String[] args) throws Exception {
    Path dir = Path.of(args[0]);
    char[] password = args[1].toCharArray();
    CertificateFactory certificates = CertificateFactory.getInstance("X.509");
    Certificate[] chain;
    try (InputStream in = Files.newInputStream(dir.resolve("certificateChain.pem"))) {
      chain = certificates.generateCertificates(in).toArray(new Certificate[0]);
    }
    Certificate authority;
    try (InputStream in = Files.newInputStream(dir.resolve("trustedCertificates.pem"))) {
      authority = certificates.generateCertificate(in);
    }
    String pem = Files.readString(dir.resolve("privateKey.pem")).replaceAll("-----[^-]*-----", "");
    PrivateKey key = KeyFactory.getInstance(chain[0].getPublicKey().getAlgorithm())
        .generatePrivate(new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem)));
    for (String[] form : new String[][] {{"PKCS12", "p12"}, {"JKS", "jks"}}) {
      KeyStore keys = KeyStore.getInstance(form[0]);
      keys.load(null, null);
      keys.setKeyEntry("leaf", key, password, chain);
      store(keys, dir.resolve("keyStore." + form[1]), password);
      KeyStore trust = KeyStore.getInstance(form[0]);
      trust.load(null, null);
      trust.setCertificateEntry("authority", authority);
      store(trust, dir.resolve("trustStore." + form[1]), password);
    }
  }

  private static void store(KeyStore store, Path path, char[] password) throws Exception {
    try (OutputStream out = Files.newOutputStream(path)) {
      store.store(out, password);
    }
  }
}
