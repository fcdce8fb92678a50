import java.io.DataInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.Collections;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;

/**
 * Says of the jars that it is given which facts of the network they hold, a line each, sorted: message types with their
 * numbers, keys of configuration, and classes. It reads class files (JVMS 4.4) and loads only the two lists of types, so that
 * the same program reads every release.
 */
public final class Facts {
  private static final String[] TYPES = {
    "org.apache.spark.network.protocol.Message$Type",
    "org.apache.spark.network.shuffle.protocol.BlockTransferMessage$Type",
  };

  public static void main(String[] args) throws Exception {
    TreeSet<String> facts = new TreeSet<>();
    for (String type : TYPES) {
      for (Object constant : Class.forName(type).getEnumConstants()) {
        facts.add("message " + type.replaceAll(".*\\.(.*)\\$Type", "$1") + " " + Reflect.call(constant, "id") + " " + constant);
      }
    }
    for (String jar : args) {
      read(new File(jar), facts);
    }
    facts.forEach(System.out::println);
  }

  private static void read(File file, TreeSet<String> facts) throws IOException {
    try (JarFile jar = new JarFile(file)) {
      for (JarEntry entry : Collections.list(jar.entries())) {
        String name = entry.getName();
        if (!name.startsWith("org/apache/spark/") || !name.endsWith(".class")) {
          continue;
        }
        if (!name.matches(".*\\$\\d+\\.class")) {
          facts.add("class " + name.substring(0, name.length() - 6).replace('/', '.'));
        }
        try (InputStream content = jar.getInputStream(entry)) {
          readKeys(new DataInputStream(content), facts);
        }
      }
    }
  }

  /** Texts of the pool of constants that look like a key. */
  private static void readKeys(DataInputStream in, TreeSet<String> facts) throws IOException {
    in.readFully(new byte[8]); // magic and version
    int count = in.readUnsignedShort();
    for (int i = 1; i < count; i++) {
      int tag = in.readUnsignedByte();
      switch (tag) {
        case 1: {
          String text = in.readUTF();
          if (text.matches("spark\\.[A-Za-z0-9.]*[A-Za-z0-9]")) {
            facts.add("key " + text);
          }
          break;
        }
        case 5: // long and double take two places
        case 6:
          in.readFully(new byte[8]);
          i++;
          break;
        case 7: // class, string, method type, module, package
        case 8:
        case 16:
        case 19:
        case 20:
          in.readFully(new byte[2]);
          break;
        case 15: // method handle
          in.readFully(new byte[3]);
          break;
        default: // all others
          in.readFully(new byte[4]);
      }
    }
  }

  private Facts() {}
}
